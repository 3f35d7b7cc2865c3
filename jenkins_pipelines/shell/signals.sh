# Finds the processes of a build and signals them; the supervisor and its runner use it. `process` is the pid of the
# user's process, `marker` the build's marker; `namespace` is not empty if the user's process has a pid namespace.

# processes_with NAME=VALUE: the pids of the processes that have this variable in their environment; takes 4 ms.
# Environments of other users' processes cannot be read.
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

# number_marker: sets `locks` to the marker as a number. The build's processes have this number as their limit of file
# locks, which Linux does not use. By it a process is found even if it has emptied its environment or overwritten it by
# a title, as nginx and postgres do.
number_marker() {
  locks=''
  case $marker in ??????????????*) locks=$((0x${marker%"${marker#??????????????}"})) ;; esac
}

# processes_with_locks: the pids of the processes that have this limit, without those of other users, which cannot be
# signalled.
processes_with_locks() {
  number_marker
  [ -n "$locks" ] || return 0
  for found in `processes_found limits -E "^Max file locks +[0-9]+ +$locks "`; do
    { kill -0 "$found" && read -r state <"/proc/$found/stat"; } 2>/dev/null || continue
    case ${state##*[)]} in ' Z'* | ' X'*) ;; *) echo "$found" ;; esac
  done
}

# find_survivors: sets `survivors` to the pids of the processes with the build's marker or limit, and of those in the
# session or pid namespace of the user's process. /proc/PID/stat: pid (name) state parent group session. Zombies do not
# count: not every agent has an init that reaps them.
find_survivors() {
  survivors=`
    [ -z "$process" ] || [ -z "$namespace" ] || processes_in_namespace
    processes_with "SHUTTLE_RUN=$marker"
    processes_with_locks
    [ -z "$process" ] || processes_found stat -E "^[0-9]+ [(].*[)] [^ZX] [0-9]+ [0-9]+ $process "
  `
}

# processes_in_namespace: the pids of the processes in the namespace that unshare made; `process` is unshare itself. Its
# only child, the namespace's first process, is listed first: it has to get TERM before the user's process ends.
processes_in_namespace() {
  only=`processes_found stat -E "^[0-9]+ [(].*[)] [^ZX] $process "`
  [ -z "$only" ] || echo "$only"
  for found in /proc/[0-9]*; do
    # shellcheck disable=SC3013 # dash, bash and busybox have -ef
    [ ! "$found/ns/pid" -ef "/proc/$only/ns/pid" ] || echo "${found#/proc/}"
  done
}

# kill_without_fork: send KILL to the user's process, its group, and all processes with the build's limit, by builtins
# alone: a shell ends if it cannot fork, because its user has too many processes. They may have started others meanwhile,
# and zombies count until they are reaped. So this is repeated until there are none, for 1 to 5 s, without `sleep`, and at
# least twice: looking at a thousand processes takes a second.
kill_without_fork() {
  number_marker
  began='' found_one=yes passes=0
  while read -r now _ </proc/uptime; do
    now=${now%%.*}
    began=${began:-$now}
    [ "$passes" -lt 2 ] || [ "$now" -le "$((began + 1))" ] ||
      { [ -n "$found_one" ] && [ "$now" -lt "$((began + 5))" ]; } || break
    passes=$((passes + 1)) found_one=''
    [ -z "$process" ] || kill -KILL "-$process" "$process"
    [ -z "$locks" ] || for found in /proc/[0-9]*; do
      while read -r name; do
        case $name in 'Max file locks '*" $locks "*) kill -KILL "${found#/proc/}" && found_one=yes ;; esac
      done <"$found/limits"
    done
  done 2>/dev/null
}

# end_by TERM or KILL: signal the group of the user's process, and all survivors. Each gets TERM once, because some
# programs take a second one as an order to exit without finishing their work; then CONT, because a stopped process does
# not handle TERM. The group is signalled as a whole, so that a process that it has just started gets the signal, too.
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
    # shellcheck disable=SC2086 # one word per pid
    [ -z "$others" ] || kill "-$1" $others
    # unshare ignores TERM; KILL ends it and its namespace.
    [ -z "$process" ] || [ "$1" != KILL ] || kill -KILL "$process"
    # shellcheck disable=SC2086
    [ "$1" != TERM ] || [ -z "$survivors" ] || kill -CONT $survivors
  } 2>/dev/null
}
