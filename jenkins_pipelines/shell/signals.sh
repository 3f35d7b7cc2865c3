# Finds the processes of a build and signals them; for the supervisor and for its runner. `process` is the pid of the
# user's process, `marker` that of the build, `namespace` is not empty where the user's process has a pid namespace.

# processes_with NAME=VALUE: the pids of the processes with it in their environment; takes 4 ms. Environments of other
# users cannot be read.
processes_with() {
  processes_found environ -zxF "$1"
}

# processes_found FILE OPTIONS…: the pids of the processes in whose /proc/PID/FILE grep finds something.
processes_found() {
  file=$1
  shift
  # shellcheck disable=SC2013 # the words are paths of /proc
  for found in `grep -ls "$@" /proc/[0-9]*/"$file" 2>/dev/null`; do
    found=${found#/proc/}
    echo "${found%%/*}"
  done
}

# find_survivors: sets `survivors` to the pids with the build's marker, and those in the session of the user's process,
# or in its pid namespace, where a process may have emptied its environment. /proc/PID/stat: pid (name) state parent
# group session. Zombies do not count: not every agent has an init that reaps.
find_survivors() {
  survivors=`
    [ -z "$process" ] || [ -z "$namespace" ] || processes_in_namespace
    processes_with "SHUTTLE_RUN=$marker"
    [ -z "$process" ] || processes_found stat -E "^[0-9]+ [(].*[)] [^ZX] [0-9]+ [0-9]+ $process "
  `
}

# processes_in_namespace: the pids of the processes in that of the user's process, whose pid is that of unshare. Its only
# child, the namespace's first process, comes first: it has to know of a stop before the user's process ends.
processes_in_namespace() {
  only=`processes_found stat -E "^[0-9]+ [(].*[)] [^ZX] $process "`
  [ -z "$only" ] || echo "$only"
  for found in /proc/[0-9]*; do
    # shellcheck disable=SC3013 # dash, bash and busybox have -ef
    [ ! "$found/ns/pid" -ef "/proc/$only/ns/pid" ] || echo "${found#/proc/}"
  done
}

# end_by TERM or KILL: signal the group of the user's process, and all survivors. Each gets TERM once, because programs
# may take a second one for an order to end without finishing their work; then CONT, as a stopped process could not
# handle it. The group is signalled as a whole: a process that it has just started is not left out.
end_by() {
  find_survivors
  grouped=' ' others=''
  [ -z "$process" ] || for pid in `processes_found stat -E "^[0-9]+ [(].*[)] [^ZX] [0-9]+ $process "`; do
    grouped="$grouped$pid "
  done
  for pid in $survivors; do
    case $grouped in
      *" $pid "*) ;;
      *) others="$others $pid" grouped="$grouped$pid " ;;
    esac
  done
  {
    [ -z "$process" ] || kill "-$1" "-$process"
    # shellcheck disable=SC2086 # one word a pid
    [ -z "$others" ] || kill "-$1" $others
    # unshare ignores TERM; KILL ends it and its namespace.
    [ -z "$process" ] || [ "$1" != KILL ] || kill -KILL "$process"
    # shellcheck disable=SC2086
    [ "$1" != TERM ] || [ -z "$survivors" ] || kill -CONT $survivors
  } 2>/dev/null
}
