# The runner starts the user's process in a session of its own, collects its output and writes how it ended to
# descriptor 5. The output goes through a pipe: with the file itself, `echo >/dev/stderr` would truncate the log.
first=$1 starter=$2 marker=$3 grace=$4 sleep=$5 cat=$6 environment=$7 unshare=$8 namespace=$9
shift 9
set -- env SHUTTLE_RUN="$marker" setsid sh -c "$starter" start "$environment" "$@"
# shellcheck disable=SC2086 # options without blanks
[ -z "$unshare" ] || set -- "$unshare" $namespace sh -c "$first" first "$grace" "$sleep" "$@"
# The pipe at descriptor 8 is closed when the supervisor is killed; then only the runner can end the process.
{
  "$@" 2>&1 4>&- 8<&- &
  process=$!
  echo "process $process" >&5
  {
    "$cat" <&8
    kill -TERM "-$process"
    "$sleep" "$grace"
    kill -KILL "-$process"
    kill -KILL "$process"
  } >/dev/null 2>&1 4>&- 5>&- &
  wait "$process"
  echo "ended $?" >&5
  kill $! 2>/dev/null
} | "$cat" >&4 5>&- 8<&- &
echo "collector $!" >&5
wait $!
echo drained >&5
