
# How long the user's process may take to start.
start_seconds=120

# end_survivors LINE: send TERM, then KILL to the processes that the user's process left running. If there are any, LINE
# is written to the log.
end_survivors() {
  find_survivors
  [ -n "$survivors" ] || return 0
  [ -z "$1" ] || say "$1"
  end_by TERM
  read_clock
  kill_at=$((now + grace + 1))
  while [ -n "$survivors" ] && [ "$now" -lt "$kill_at" ]; do
    nap 5
    read_clock
    find_survivors
  done
  kill_survivors
}

# kill_survivors: send KILL repeatedly, because a process may start another one meanwhile.
kill_survivors() {
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    end_by KILL
    [ -n "$survivors" ] || return 0
    nap 5
  done
}

# choose_namespace: sets `pid_namespace` to the options with which unshare can make a pid namespace here, in which no
# process survives the build. No user namespace is made where sudo or newuidmap exist: in one, they would not work.
choose_namespace() {
  pid_namespace='' unshare_path=`command -v unshare` || return 0
  if "$unshare_path" --pid --fork --kill-child --mount-proc "$sh_path" -c : 2>/dev/null; then
    pid_namespace='--pid --fork --kill-child --mount-proc'
  elif command -v sudo >/dev/null || command -v newuidmap >/dev/null; then
    :
  elif "$unshare_path" --user --map-current-user --pid --fork --kill-child --mount-proc "$sh_path" -c : 2>/dev/null; then
    pid_namespace='--user --map-current-user --pid --fork --kill-child --mount-proc'
  fi
}

# start FOLDER COMMAND…: start the command in FOLDER under the runner, an orphan that Jenkins' signals do not reach.
# Descriptor 6 reads the runner's status lines. Descriptor 7 closes when this shell ends; then the runner ends the
# process. Unless `unprotected` is yes, the process has an environment of its own and, where possible, a pid namespace,
# and finds no credentials. It gets the arguments in `arguments_folder`, which is removed.
# The runner becomes an orphan by two calls of setsid. The first makes its process the leader of a session. A leader
# cannot begin another session, so the second call forks, and its parent exits. `&` is not used, because a process that
# is started by it ignores SIGINT and SIGQUIT.
start() {
  process='' collector='' ended='' drained='' collected='' left_running='' runner_pid='' runner_lost='' folder=$1
  shift
  begin
  namespace=''
  if [ "$unprotected" != yes ]; then
    namespace=$pid_namespace
    rm -rf "$work/environment/base_images" "$work/environment/source_image" "$work/environment/destinations"
  fi
  : >"$work/status"
  # shellcheck disable=SC2094 # the runner writes it, this shell reads it
  exec 5>>"$work/status" 6<"$work/status"
  mkfifo "$work/alive"
  exec 7<>"$work/alive" 8<"$work/alive"
  rm -f "$work/status" "$work/alive"
  set -- "$sh_path" -c "$signals$newline$runner" runner "$first" "$starter" "$marker" "$grace" "$sleep_path" "$cat_path" \
    "$grep_path" "$work/$arguments_folder" "${namespace:+$unshare_path}" "$namespace" "$@"
  [ "$unprotected" = yes ] ||
    set -- "$env_path" -i PATH="${PATH:-/usr/local/bin:/usr/bin:/bin}" HOME="${HOME:-$sources}" \
      LANG="${LANG:-C.UTF-8}" CI=true SHUTTLE_APP_ID="$app_id" SHUTTLE_BUILD_ID="$build_id" "$@"
  (
    trap - TERM INT HUP
    cd "$folder" && umask "$umask_of_builds" &&
      "$setsid_path" "$sh_path" -c 'exec "$@"' leader "$setsid_path" "$@" </dev/null >/dev/null 2>&1 3<&- 6<&- 7>&- 9<&- ||
      echo 'ended 126' >&5
  )
  exec 5>&- 8<&-
  read_clock
  start_by=$((now + start_seconds))
}

# read_status: read new status lines. If the runner is gone without a line `ended`, the build has killed it, and counts
# as ended with 137. The runner has to be missing in two calls: it may have written its last line after the first call
# had read the file. Before its first line has come, the runner counts as running until `start_by`.
read_status() {
  while read -r word value <&6; do
    case $value in *[!0-9]* | 0?* | ????????*) continue ;; esac
    case $word in
      runner) runner_pid=${runner_pid:-$value} ;;
      process) process=${process:-$value} ;;
      collector) collector=${collector:-$value} ;;
      ended) ended=${ended:-$value} ;;
      survivors) left_running=yes ;;
      drained) drained=yes collected=$value ended=${ended:-137} ;;
    esac
  done
  if [ -z "$ended" ] && ! kill -0 "${runner_pid:-$$}" 2>/dev/null; then
    [ -z "$runner_lost" ] || ended=137
    runner_lost=yes
  elif [ -z "$ended$runner_pid" ]; then
    read_clock
    [ "$now" -lt "$start_by" ] || ended=126
  fi
}

# await_process: if the process that was started last is not known yet, wait for its pid for up to 3 s, and then 0.1 s
# for its session, in which it can be signalled. Otherwise it would begin its work after the end of a stopped build.
await_process() {
  [ -n "${start_by-}" ] && [ -z "$process$ended" ] || return 0
  read_clock
  known_by=$((now + 2))
  while [ -z "$process$ended" ] && [ "$now" -le "$known_by" ]; do
    nap 2
    read_status
    read_clock
  done
  nap 10
}

# follow: forward the log until the process has ended; fails as soon as the build has to stop.
follow() {
  empty_looks=0
  while :; do
    read_status
    [ -z "$stop$terminated" ] || return 1
    [ -z "$ended" ] || return 0
    # A build may have stopped its runner, which would never report the end.
    [ -n "$paused" ] || kill -CONT "-$runner_pid" 2>/dev/null
    # Nothing is forwarded before the collector's pid is known: limit_growth needs it.
    [ -z "$collector" ] || forward
    rest
  done
}

# run_unprotected FOLDER COMMAND…: the same as `run`, but the command has the environment of Jenkins' step and no pid
# namespace, so processes that hide from the supervisor may outlive the build. It is for tools of the agent that do not
# work otherwise, like an image builder.
run_unprotected() {
  unprotected=yes
  run "$@" || :
  unprotected=''
  return "$ended"
}

# try FUNCTION …: run a program by the function `run`, `run_unprotected` or `with_credentials`, and return its exit status:
# a failure does not end the build.
try() {
  trying=yes
  "$@"
  set -- $?
  trying=''
  return "$1"
}

# run FOLDER COMMAND…: run the user's program, and end what it leaves running. The build ends if the program fails, so
# that a script that forgets to look at the exit status reports no success.
run() {
  start "$@"
  line_open=maybe
  follow || stop_build
  [ -n "$runner_pid" ] || say "The build's process could not be started on the agent."
  line='Processes that were left running are ended.'
  [ -z "$left_running" ] || say "$line"
  resume
  end_survivors "$line"
  drain
  [ "${collected:-0}" = 0 ] ||
    fail output_lost "The agent could not write all of the build's output; free space on its disk."
  shift
  [ "$ended" = 0 ] || [ -n "$trying" ] || end_failed_build "$@"
  return "$ended"
}

# end_failed_build COMMAND…: end the build with the command's exit status. The message names the program that failed,
# not the `env` and the variables in front of it.
end_failed_build() {
  while [ $# -gt 1 ] && case $1 in env | */env | *=*) ;; *) false ;; esac; do shift; done
  fail build_failed "${1##*/} ended with exit status $ended." "$ended"
}

# drain: wait up to 2 s for the collector, which ends after the pipe's last byte; a hidden process may hold the pipe
# open. The runner and the collector, in one group, get CONT, because a build may have stopped them.
drain() {
  turns=40
  [ -n "$drained" ] || kill -CONT "-$runner_pid" 2>/dev/null
  while [ -z "$drained" ] && [ "$turns" -gt 0 ]; do
    read_status
    [ -n "$drained" ] || nap 5
    turns=$((turns - 1))
    read_clock
    [ "$now" -lt "${deadline:-$((now + 1))}" ] || turns=0
  done
  [ -n "$drained" ] || kill -KILL "-$runner_pid" 2>/dev/null
  process='' collector='' paused=''
}
