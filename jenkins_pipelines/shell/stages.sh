
# say TEXT: write a line to the log. If a process left its last line unfinished, that line is ended first.
say() {
  if [ -n "$line_open" ]; then
    last=`tail -c 1 "/proc/$$/fd/4" | tr '\000' x`
    [ -z "$last" ] || echo >&4
  fi
  line_open=''
  printf -- '-----> %s\n' "$1" >&4
}

# begin_stage NAME TEXT [STATE]: TEXT is shown on Jenkins' console. STATE is the code of the build's state from then on.
begin_stage() {
  stage=$1
  [ "$console" != full ] || read_chunk
  note "$2"
  state=''
  [ -z "${3-}" ] || state=",\"state\":$3"
  progress begin "$state"
}

# end_stage CODE STATUS [STATE]: STATE is the code of the build's state from then on.
end_stage() {
  [ -n "$stage" ] || return 0
  progress end ",\"code\":$1,\"status\":\"$2\"${3:+,\"state\":$3}"
  stage=''
}

# progress EVENT [FIELDS]: report an event of the stage, with the size of the log. If the call fails, the build
# continues: `unreported` keeps the events that the shuttle has not accepted yet, one per line, and they are sent again
# after a push that was answered. `boundary` is the size of the log at the first of them. Until they are accepted, no
# byte beyond it is pushed: otherwise the shuttle would not know which bytes belong to the stage.
progress() {
  read_size
  [ -n "$unreported" ] || boundary=$size
  unreported="$unreported{\"id\":\"$stream.$stage.$1\",\"stage\":\"$stage\",\"event\":\"$1\",\"offset\":$size${2-}}$newline"
  report_stages
}

# report_stages: send the `unreported` events in order, and stop at the first one that has to be sent again.
report_stages() {
  while [ -n "$unreported" ]; do
    call "$run_token" POST progress -o /dev/null --max-time 5 -H 'Content-Type: application/json' \
      --data-binary "${unreported%%"$newline"*}"
    case $status in
      408 | 429 | 5??) return 0 ;;
      2??) [ "$problem" = 0 ] || return 0 ;;
      4??) ;;
      *) return 0 ;;
    esac
    unreported=${unreported#*"$newline"}
  done
  boundary='' refusals=0
}

# begin: tell the shuttle that users' code is about to run, which voids the setup token. Called before a pipeline starts
# its first program. choose_namespace looks up unshare before that, because users' code may write into a folder of PATH.
begin() {
  [ -n "${setup_token-}" ] || return 0
  choose_namespace
  if ! ask "$setup_token" POST begin -o /dev/null -d ''; then
    fail begin_refused "The shuttle did not let the build begin (HTTP status $status)."
  fi
  unset setup_token bearer answer
}

# fail REASON MESSAGE [STATUS]: end the build, by default with status 1. Without STATUS, a program of this step may have
# failed because of TERM from Jenkins. This shell gets TERM a little later, so it first waits 0.1 s.
fail() {
  [ -n "${3-}$stop$terminated" ] || nap 10
  [ -z "$stop$terminated" ] || stop_build
  say "$2"
  conclude "${3:-1}" failed "$1" "$2"
}

# stop_build: TERM, the grace time, KILL, and the last push; all within 15 s, because Jenkins waits 20 s. If this shell
# got TERM and the shuttle has requested no stop, the build was aborted in Jenkins.
stop_build() {
  read_clock
  kill_at=$((now + grace + 1)) deadline=$((now + grace + 5)) latest=$((${terminated:-$now} + 13))
  if [ "$deadline" -gt "$latest" ]; then deadline=$latest; fi
  cause=$stop in_haste=yes
  # Jenkins sends TERM for the shuttle's stops, too, often before the shuttle has named the cause.
  say "The build is stopped${cause:+: $cause}."
  await_process
  find_survivors
  if [ -n "$process$survivors" ]; then
    resume
    end_by TERM
    while [ "$now" -lt "$kill_at" ]; do
      read_status
      find_survivors
      [ -z "$ended" ] || [ -n "$survivors" ] || break
      forward
      nap 10
      push_in=$((push_in - 10))
      read_clock
    done
    kill_survivors
    drain
  fi
  if [ -n "$cause" ]; then
    conclude 143 stopped '' "$cause"
  else
    conclude 143 stopped aborted_in_jenkins 'The build was aborted in Jenkins.'
  fi
}

# end_early: the trap for an exit that no script has asked for. A shell exits if it cannot fork, or cannot open a file for
# `exec`. So the build's processes are killed by builtins first; then there is room for the processes that report the end.
end_early() {
  unset IFS
  set +f
  if [ -n "${start_by-}" ]; then
    read_status
    kill_without_fork
    kill_survivors
    resume
    drain
  fi
  fail supervisor_failed 'The agent could not start another process or open another file; look at the limits of its user.'
}

# conclude EXIT STATUS REASON MESSAGE: clean up, send how the build ended, end the step.
conclude() {
  trap - EXIT
  read_clock
  deadline=${deadline:-$((now + retry_seconds))}
  ending=''
  cd "$workspace" 2>/dev/null || :
  # Source and credentials are removed first: sending may take minutes.
  remove_folder "$sources"
  rm -rf "$work/environment" "$work/credentials"
  # At a stop, no time is spent on a shuttle that does not answer.
  [ "$2" = stopped ] && [ "$failures" != 0 ] || end_stage "$1" "$2"
  report_id=${report_prefix}failure
  [ "$3" != aborted_in_jenkins ] || report_id=${report_prefix}end
  json_reason=`json_text "$3"` json_message=`json_text "$4"`
  [ -z "$3" ] || ending="{\"id\":\"$report_id\",\"state\":\"failed\",\"reason\":\"$json_reason\",\
\"message\":\"$json_message\"}"
  send_end "$1" || hand_over "$1"
  [ -z "$local_images" ] || remove_images
  [ -z "$temporary" ] || remove_folder "$temporary"
  case $2 in
    succeeded) announce 'Succeeded.' ;;
    stopped) announce "Stopped: $4" ;;
    # The message may quote a tool, and the console is not masked.
    *) announce "Failed: $3" ;;
  esac
  exit "$1"
}

# remove_image BUILDER IMAGE: remove the image, with a time limit for all images together: a daemon that hangs must not keep
# the step from its end.
removal_seconds=60
remove_image() {
  read_clock
  remove_by=${remove_by:-$((now + removal_seconds))}
  [ "$now" -lt "$remove_by" ] || return 0
  "$1" rmi "$2" </dev/null >/dev/null 2>&1 &
  remover=$!
  while kill -0 "$remover" 2>/dev/null && [ "$now" -lt "$remove_by" ]; do
    nap 5
    read_clock
  done
  kill -KILL "$remover" 2>/dev/null
  wait "$remover" 2>/dev/null
}

# hand_over EXIT: start a process that Jenkins does not know, and that sends the rest for up to 15 minutes (orphan.sh).
# When the step ends, Jenkins kills all processes that have the step's environment. So this shell waits until the new
# process has another environment: orphan.sh then closes its standard output, which ends the backticks. It reads curl's
# variables from the pipe, because process lists would show the password of a proxy.
hand_over() {
  announce 'The shuttle does not answer; the rest of the log is sent later.'
  {
    printf '%s\n' "$run_token"
    print_variables http_proxy https_proxy HTTPS_PROXY all_proxy ALL_PROXY no_proxy NO_PROXY CURL_CA_BUNDLE \
      SSL_CERT_FILE SSL_CERT_DIR
  } | (
    trap - TERM INT HUP
    : `
      "$env_path" -i PATH="$PATH" LC_ALL=C SHUTTLE_FORWARDS="$work" SHUTTLE_URL="$SHUTTLE_URL" \
        BUILD_UUID="$BUILD_UUID" "$setsid_path" "$sh_path" -c "$programs$library$newline$orphan" orphan \
        "$work" "$stream" "$offset" "$max_bytes" "$1" "$ending" <&5 2>/dev/null 6<&- 7>&- &
    `
  ) 5<&0
}

# print_variables NAME…: a line `NAME=value` for each variable that has a value.
print_variables() {
  for name; do
    eval "value=\${$name-}"
    [ -z "$value" ] || printf '%s\n' "$name=$value"
  done
}
