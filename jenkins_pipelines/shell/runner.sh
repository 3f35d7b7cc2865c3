# The runner starts the user's process in a session of its own, collects its output and writes how it ended to
# descriptor 5. The output goes through a pipe: if it went to the file directly, `echo >/dev/stderr` would truncate the
# log. The user's process is in the foreground: a shell without job control starts background processes with SIGINT and
# SIGQUIT ignored.
first=$1 starter=$2 marker=$3 grace=$4 sleep=$5 cat=$6 grep=$7 environment=$8 unshare=$9
shift 9
namespace=$1
shift
number_marker
set -- env SHUTTLE_RUN="$marker" setsid sh -c "$starter" start "$environment" "$locks" "$@"
# shellcheck disable=SC2086 # options without blanks
[ -z "$unshare" ] || set -- "$unshare" $namespace sh -c "$first" first "$grace" "$sleep" "$@"

# end_process: end the user's process and all that it leaves running. Its pid is in the status file, to which descriptor
# 5 appends. The trap runs if this shell cannot fork, and at its end: a fork may have failed within `find_survivors`.
end_process() {
  trap '' TERM
  # The supervisor may have been killed while it had paused the collector.
  trap '[ "$word" = process ] || process=""; kill_without_fork; end_by KILL; kill -CONT 0' EXIT
  exec 6</proc/self/fd/5
  word=''
  until [ "$word" = process ]; do read -r word process <&6 || "$sleep" 1; done
  end_by TERM
  "$sleep" "$grace"
  for _ in 1 2 3; do end_by KILL; done
}

# Called by its path: the build may have written a program of that name.
grep() { command "$grep" "$@"; }

echo "runner $$" >&5
{
  # The pipe at descriptor 8 is closed when the supervisor is killed; then only the runner can end the process.
  { while read -r _ <&8; do :; done; end_process; } >/dev/null 2>&1 4>&- &
  watchdog=$!
  # A second shell redirects the output: if this shell did, its message about a killed process would be in the log.
  sh -c 'echo "process $$" >&5 && exec "$@" 2>&1 4>&- 8<&-' process "$@"
  echo "ended $?" >&5
  kill "$watchdog" 2>/dev/null
} | sh -c 'echo "collector $$" >&5 && exec "$1" >&4 4>&- 5>&- 8<&-' collector "$cat"
# The collector fails if the disk is full.
echo "drained $?" >&5
