# The first process of a pid namespace; when it ends, the kernel kills all others. What its only child leaves running
# gets TERM and the grace time; `kill -1` reaches all processes but the first.
grace=$1 sleep=$2
shift 2
"$@" 5>&- &
wait $!
status=$?
if kill -TERM -1 2>/dev/null; then
  echo survivors 0 >&5
  turns=$((grace * 5))
  while [ "$turns" -gt 0 ] && "$sleep" 0.2 && kill -0 -1 2>/dev/null; do turns=$((turns - 1)); done
fi
exit "$status"
