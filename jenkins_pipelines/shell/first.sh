# The first process of a pid namespace: when it ends, the kernel kills all others. It runs the command as its only
# child. Processes that the child leaves running get TERM, then CONT, because a stopped process does not handle TERM,
# and the grace time. `kill … -1` signals all processes of the namespace but this one. If this process has got TERM, a
# stop has already sent TERM to all of them. This shell would write a message about a killed child to its standard
# error, so only the child has that of the build (descriptor 6).
grace=$1 sleep=$2 stopped=''
trap stopped=yes TERM
shift 2
exec 6>&2 2>/dev/null
sh -c 'exec "$@" 2>&6 5>&- 6>&-' only "$@"
status=$?
if kill -0 -1; then
  echo survivors 0 >&5
  [ -n "$stopped" ] || kill -TERM -1
  kill -CONT -1
  turns=$((grace * 5))
  while [ "$turns" -gt 0 ] && "$sleep" 0.2 && kill -0 -1; do turns=$((turns - 1)); done
fi
exit "$status"
