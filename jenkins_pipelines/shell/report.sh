# Functions that report to the record of a build, with sh and curl, for agents without Python. BLDST_API_URL,
# BLDST_API_KEY and BLDST_BUILD_ID have to be set. A call that is refused prints the reason and fails.

# report_call METHOD PATH [curl options]: curl reads the key from a pipe, because process lists show arguments.
report_call() {
  report_method=$1 report_path=$2
  shift 2
  printf 'X-API-Key: %s\n' "$BLDST_API_KEY" |
    curl -q -g -fsS -X "$report_method" -H @- -o /dev/null --retry 3 --connect-timeout 10 "$@" \
      "$BLDST_API_URL/builds/$BLDST_BUILD_ID/$report_path"
}

# report_post PATH JSON
report_post() {
  report_call POST "$1" -H 'Content-Type: application/json' --data-binary "$2"
}

# report_text TEXT: the inside of a JSON string; control characters become spaces.
report_text() {
  printf %s "$1" | tr '\001-\037\177' ' ' | sed 's/[\\"]/\\&/g'
}

# is_done CODE: whether the build that this one resumes has passed this state. Then it says so.
is_done() {
  [ "${RESUME_MODE-false}" = true ] && [ "$1" -lt "${RESUME_FROM_STATE:-0}" ] || return 1
  echo "State $1 is skipped, done in build ${RESUME_BUILD_ID-}."
}

# report_state CODE TEXT: the build is in this state now.
report_state() {
  report_status=`report_text "$2"`
  report_post states "{\"state\":$1,\"status\":\"$report_status\"}"
}

# record_artifact NAME TYPE PATH: record a result of the build that is stored elsewhere.
record_artifact() {
  report_name=`report_text "$1"` report_type=`report_text "$2"` report_place=`report_text "$3"`
  report_name="\"artifact_name\":\"$report_name\",\"artifact_type\":\"$report_type\""
  report_post artifacts "{$report_name,\"artifact_path\":\"$report_place\"}"
}

# keep_variable KEY VALUE: a variable that a build needs to resume this one.
keep_variable() {
  report_key=`report_text "$1"` report_value=`report_text "$2"`
  report_key="\"variable_key\":\"$report_key\",\"is_required_for_resume\":true"
  report_post variables "{$report_key,\"variable_value\":\"$report_value\"}"
}

# keep_file CODE FILE: upload a file for the build that resumes this one; it finds the file in its folder resume.
keep_file() {
  report_name=`printf %s "${2##*/}" | od -An -v -tx1 | tr -d ' \n' | sed 's/../%&/g'`
  report_call PUT "artifacts/$report_name/content?state_code=$1" -T "$2"
}

# checkpoint NAME CODE [FILE | KEY=VALUE]…: files and variables that a build needs to continue from this state. The state
# is recorded last, so a build that has the state has the others, too.
checkpoint() {
  checkpoint_name=$1 checkpoint_code=$2
  shift 2
  for kept in "$@"; do
    case $kept in
      *=*) keep_variable "${kept%%=*}" "${kept#*=}" || return ;;
      *) keep_file "$checkpoint_code" "$kept" || return ;;
    esac
  done
  report_state "$checkpoint_code" "$checkpoint_name"
}

# on_failure TEXT: the step that runs now has failed.
on_failure() {
  report_message=`report_text "$1"`
  report_post failures "{\"state\":-1,\"failure_type\":\"step_failed\",\"error_message\":\"$report_message\"}"
}
