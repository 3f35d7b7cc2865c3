# The first process of a pid namespace; when it ends, the kernel kills all others. What its only child leaves running
# gets TERM (a stopped process handles it only after CONT) and the grace time; `kill -1` reaches all processes but the
# first. If this process got TERM, a stop has sent it to all of them already. The shell's own messages about a killed
# child are dropped: only the child has the build's standard error (descriptor 6).
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
