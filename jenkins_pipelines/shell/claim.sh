
token=$SHUTTLE_TOKEN
unset SHUTTLE_TOKEN JENKINS_SERVER_COOKIE JENKINS_NODE_COOKIE
workspace=$PWD
umask_of_builds=$(umask)
umask 077
stream=${SHUTTLE_BRANCH:-main} branch=''
[ "$stream" = main ] || branch=,\"branch\":\"$(json_text "$stream")\"
console=summary stop='' deadline='' stage='' process='' collector='' watcher='' clean='' namespace=''
local_images='' line_open='' arguments_folder=environment
# Jenkins sends TERM to this shell and to all its descendants, then waits for them. The loops check when it came.
terminated='' in_haste='' unreported=''
trap '[ -n "$terminated" ] || { read_clock && terminated=$now; }' TERM INT HUP

# json_field NAME: the value of a field of `answer`, a text without escapes or a number.
json_field() {
  field=${answer#*\""$1"\"}
  [ "$field" != "$answer" ] || field=''
  field=${field#*:}
  field=${field#"${field%%[! "$newline$carriage_return"]*}"}
  case $field in
    \"*)
      field=${field#?}
      field=${field%%\"*}
      ;;
    *) field=${field%%[!0-9.]*} ;;
  esac
}

# claim: BUILD_NUMBER tells the shuttle which Jenkins build this is; nothing on the agent is changed before the shuttle
# has accepted it. If an answer is lost, the same nonce gets it again.
claim() {
  nonce=$(random_id)
  for _ in 1 2 3 4 5; do
    ask "$token" POST claim -H 'Content-Type: application/json' \
      --data-binary "{\"number\":$BUILD_NUMBER,\"nonce\":\"$nonce\"$branch}" || break
    json_field run_token
    run_token=$field
    json_field setup_token
    setup_token=$field
    [ -z "$run_token" ] || return 0
  done
  case $status in
    409) announce 'Refused: this build was claimed by another run or has begun. Nothing was done.' ;;
    410) announce 'Refused: the build has ended or was stopped. Nothing was done.' ;;
    401) announce 'Refused: the token is not of this build, or curl is older than 7.55 and sent none. Nothing was done.' ;;
    *) announce "The build could not be claimed (HTTP status $status). Nothing was done." ;;
  esac
  exit 1
}

# remove_leftovers PREFIX: folders and processes of an earlier build whose agent died; the file `marker` identifies the
# processes. A folder whose log is still being sent stays.
remove_leftovers() {
  for folder in "$PWD@shuttle-$1"*; do
    if [ -L "$folder" ] || [ ! -d "$folder" ]; then continue; fi
    [ -z "$(processes_with "SHUTTLE_FORWARDS=$folder")" ] || continue
    marker=''
    # A build may have made this folder: no fifo is waited for, and no large file read.
    [ ! -f "$folder/marker" ] || marker=$(dd bs=64 count=1 <"$folder/marker" 2>/dev/null | tr -d '\000')
    case $marker in
      '' | *[!0-9a-f]*) ;;
      *) end_survivors '' ;;
    esac
    remove_folder "$folder"
  done
  remove_folder "$sources"
}

claim
unset token
json_field stop_grace_seconds
grace=${field%%.*}
json_field console
console=${field:-summary}
json_field log_url
log_url=$field
json_field max_bytes
max_bytes=${field:-2147483648}
case $grace in '' | *[!0-9]* | 0?* | ??????*) grace=5 ;; esac
case $max_bytes in *[!0-9]* | 0?*) max_bytes=2147483648 ;; esac

if [ "$stream" = main ]; then
  sources=$PWD/source
  remove_leftovers ''
  remove_folder shuttle
else
  sources=$PWD/source-$stream
  remove_leftovers "$stream-"
fi
work=$PWD@shuttle-$stream-$(random_id)
mkdir -m 700 "$work" || {
  announce "The agent could not make the folder $work."
  exit 1
}
mkdir "$sources"
marker=$(random_id)
echo "$marker" >"$work/marker"
open_log
[ -z "$log_url" ] || note "The log is at $log_url"
