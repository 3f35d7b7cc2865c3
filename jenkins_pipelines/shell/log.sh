
# The log is a file without a name: descriptor 4 appends to it, descriptor 3 reads it. `offset` is the offset that the
# shuttle wants next. The chunk is another such file (descriptor 9): it holds the `chunk_size` bytes from `offset` until
# they are acknowledged, or refused by 413. Descriptor 3 stands at their end, unless `misplaced` is set.
full_chunk=4194304
most_unsent=268435456

open_log() {
  : >"$work/log"
  # shellcheck disable=SC2094 # the build writes it, this shell reads it
  exec 3<"$work/log" 4>>"$work/log" 9>"$work/chunk"
  rm -f "$work/log" "$work/chunk"
  begin_forwarding 0
}

# begin_forwarding OFFSET: sets the variables with which `forward` begins at OFFSET. Three of them are hundredths of a
# second: `push_in` is the time until the next push, `silent` the time since the last one, `idle` the longest time
# without one.
begin_forwarding() {
  chunk=/proc/$$/fd/9
  offset=$1 chunk_size=0 push_in=0 silent=0 idle=3000 failures=0 empty_looks=0 cut_at=0 paused='' shown=$1
  boundary='' refusals=0 misplaced='' superseded=''
}

# seek_log: position descriptor 3 at `offset`. The file has no name, so it is reopened through /proc; dd skips the bytes
# by one lseek. Fails if a signal has ended dd.
seek_log() {
  chunk_size=0 misplaced=yes
  exec 3<"/proc/$$/fd/3"
  [ "$offset" = 0 ] || dd bs=1 skip="$offset" count=0 <&3 2>/dev/null || return 1
  misplaced=''
}

# read_size: sets `size` to the size of the log. TERM comes once to each process, so it does not end `ls` again and again.
read_size() {
  for _ in 1 2 3; do
    # shellcheck disable=SC2046 # split into words: the fifth is the size
    set -- `ls -lnL "/proc/$$/fd/4"`
    size=${5:-0}
    [ "$size" = 0 ] || return 0
  done
}

# read_chunk: if no chunk is waiting to be acknowledged, read up to `full_chunk` bytes of the log into `chunk`, but
# nothing beyond `boundary`. When more than `max_bytes` were sent, nothing more is read, because the shuttle drops the
# rest. `misplaced`: descriptor 3 is not at the end of the chunk, after which the log may have more. Fails if the log has
# bytes that could not be read.
read_chunk() {
  [ "$chunk_size" = 0 ] || return 0
  [ "$offset" -le "$max_bytes" ] || return 0
  [ -z "$boundary" ] || [ "$offset" -lt "$boundary" ] || return 0
  [ -z "$misplaced" ] || seek_log || return 1
  # If a later step fails, the chunk must not have the bytes of an earlier one.
  true >"$chunk" || return 1
  # What dd wrote before a signal ended it, or before the disk was full, is sent; it may have read more than that. So a
  # build that has filled the disk with its log still gets rid of it.
  dd bs=256k count="$((full_chunk / 262144))" <&3 >"$chunk" 2>/dev/null || misplaced=yes
  if [ ! -s "$chunk" ]; then
    [ -z "$misplaced" ]
    return
  fi
  chunk_size=`wc -c <"$chunk"`
  chunk_size=$((chunk_size))
  if [ "$chunk_size" = 0 ]; then # a signal has ended wc
    misplaced=yes
    return 1
  fi
  if [ -n "$boundary" ] && [ $((offset + chunk_size)) -gt "$boundary" ]; then
    chunk_size=$((boundary - offset)) misplaced=yes
    dd if=/dev/null of="$chunk" bs=1 seek="$chunk_size" 2>/dev/null || {
      chunk_size=0
      return 1
    }
  fi
  if [ "$console" = full ] && [ "$shown" -lt $((offset + chunk_size)) ]; then
    tail -c "+$((shown > offset ? shown - offset + 1 : 1))" "$chunk"
    shown=$((offset + chunk_size))
  fi
}

# push [QUERY]: send the chunk, or no bytes if there is none. Sets `wanted` to the offset that the answer names; if it
# names none, `wanted` is empty, and the push has failed.
push() {
  wanted='' pause=0.2 body=/dev/null
  [ "$chunk_size" = 0 ] || body=$chunk
  watch_growth
  call "$run_token" POST "log?stream=$stream&offset=$offset${1-}" -o /dev/null --speed-time 30 \
    -H 'Content-Type: application/octet-stream' --data-binary "@$body"
  unwatch_growth
  case $status in
    200 | 409) read_head ;;
    410) stop=${stop:-over} superseded=yes ;;
    413) shrink_chunks ;;
  esac
  push_in=0 silent=0
  if [ -z "$wanted" ]; then
    failures=$((failures + 1))
    case $failures in 1 | 2) push_in=50 ;; 3 | 4) push_in=100 ;; 5 | 6) push_in=200 ;; *) push_in=500 ;; esac
    return 1
  fi
  failures=0
  to_hundredths "$pause"
  push_in=$hundredths
  acknowledge
}

# shrink_chunks: halve the chunks, because a proxy accepts no body of this size; nginx allows 1 MiB by default.
shrink_chunks() {
  [ "$full_chunk" -gt 262144 ] || return 0
  full_chunk=$((full_chunk / 2)) chunk_size=0 misplaced=yes
}

# read_head: read the Shuttle- headers of the last answer.
read_head() {
  IFS=$newline
  set -f
  for line in $answer; do
    line=${line%"$carriage_return"}
    value=${line#*:}
    value=${value# }
    case $line in
      [Ss]huttle-[Ll]og-[Oo]ffset:*) wanted=$value ;;
      [Ss]huttle-[Ll]og-[Pp]ause:*) pause=$value ;;
      [Ss]huttle-[Ll]og-[Ii]dle:*)
        to_hundredths "$value"
        idle=$hundredths
        ;;
      [Ss]huttle-[Ss]top:*) stop=$value ;;
      '') break ;;
    esac
  done
  set +f
  unset IFS
  case $wanted in *[!0-9]* | 0?*) wanted='' ;; esac
}

# to_hundredths SECONDS: sets `hundredths`, rounded up. 1000 s or more count as an hour, a text that is no decimal number
# as a second.
to_hundredths() {
  whole=${1%%.*} fraction=${1#"${1%%.*}"}
  fraction=${fraction#.}00
  case $whole$fraction in *[!0-9]*) whole=1 fraction=00 ;; esac
  case $whole in 0?*) whole=1 ;; ????*) whole=3600 ;; esac
  rest=${fraction#??}
  fraction=${fraction%"$rest"}
  hundredths=$((${whole:-0} * 100 + 1$fraction - 100))
  case $rest in *[1-9]*) hundredths=$((hundredths + 1)) ;; esac
}

# acknowledge: continue at `wanted`: after the chunk, or elsewhere if the shuttle has lost its disk.
acknowledge() {
  if [ "$chunk_size" -lt "$full_chunk" ] || [ "$wanted" = "$offset" ]; then
    push_in=$((push_in > 5 ? push_in : 5))
  fi
  if [ "$wanted" = $((offset + chunk_size)) ]; then
    offset=$wanted chunk_size=0
  elif [ "$wanted" != "$offset" ]; then
    offset=$wanted chunk_size=0 misplaced=yes
  fi
}

# watch_growth: start a process that checks the log's size while a push hangs, and pauses the collector at 256 MiB
# unsent: a build may write gigabytes per second.
watch_growth() {
  [ -n "$collector" ] && [ -z "$paused" ] || return 0
  (
    trap - TERM INT HUP
    while nap 20 && kill -0 $$ 2>/dev/null; do
      read_size
      [ "$((size - offset))" -lt "$most_unsent" ] || { : >"$work/paused" && kill -STOP "$collector"; }
    done
  ) >/dev/null 2>&1 &
  watcher=$!
}

# unwatch_growth: end that process. KILL is used because the process has the traps of this shell for a moment after its
# fork, and would lose any other signal then.
unwatch_growth() {
  [ -n "$watcher" ] || return 0
  # Its `sleep` is killed as well if the kernel lists children; otherwise it runs for another 0.2 s.
  sleeping=''
  kill -STOP "$watcher" 2>/dev/null
  { read -r sleeping <"/proc/$watcher/task/$watcher/children"; } 2>/dev/null
  # shellcheck disable=SC2086 # one word per pid
  kill -KILL "$watcher" $sleeping 2>/dev/null
  wait "$watcher" 2>/dev/null
  watcher=''
  [ ! -e "$work/paused" ] || paused=yes
}

# limit_growth: pause the collector while 256 MiB or more are unsent, so that the build waits at its pipe. Bytes beyond
# `max_bytes` are dropped: the file is truncated again and again.
limit_growth() {
  if [ "$offset" -gt "$max_bytes" ]; then
    cut_at=$((cut_at > offset + chunk_size ? cut_at : offset + chunk_size))
    dd if=/dev/null of="/proc/$$/fd/4" bs=1 seek="$cut_at" 2>/dev/null
  elif [ -n "$collector" ] && read_size && [ "$((size - offset))" -ge "$most_unsent" ]; then
    kill -STOP "$collector" 2>/dev/null
    paused=yes
    return 0
  fi
  resume
}

resume() {
  [ -z "$paused" ] || rm -f "$work/paused"
  [ -z "$paused" ] || kill -CONT "$collector" 2>/dev/null
  paused=''
}

# forward: one round of reading and pushing the log. It reads only when the pause is over, so that one push sends all
# that was printed during the pause.
forward() {
  [ "$push_in" -gt 0 ] || read_chunk
  if [ "$chunk_size" = "$full_chunk" ] || [ "$push_in" -gt 100 ] || [ "$offset" -gt "$max_bytes" ] || [ -n "$paused" ]
  then
    limit_growth
  fi
  [ "$push_in" -le 0 ] || return 0
  if [ "$chunk_size" = 0 ]; then
    empty_looks=$((empty_looks + 1))
    [ "$silent" -ge "$idle" ] || [ "$offset" = "$boundary" ] || return 0
  else
    empty_looks=0
  fi
  push
  # Stages are reported only directly after a push that was answered. If the calls fail again and again, the log
  # does not wait for them.
  [ "$failures" = 0 ] && [ -n "$unreported" ] || return 0
  report_stages
  [ -z "$unreported" ] || refusals=$((refusals + 1))
  [ "$refusals" -lt 5 ] || boundary=''
}

# rest: sleep until the next round: 0.05 s at first, so that a short build ends at once, up to 1 s in a silent build.
rest() {
  if [ "$chunk_size" != 0 ] || [ "$push_in" -gt 20 ]; then
    moment=$((push_in < 100 ? push_in : 100))
  elif [ "$empty_looks" -lt 5 ]; then
    moment=$((push_in > 0 && push_in < 5 ? push_in : 5))
  elif [ "$empty_looks" -lt 25 ] || [ "$cut_at" -gt 0 ]; then
    moment=20
  elif [ "$empty_looks" -lt 40 ]; then
    moment=50
  else
    moment=100
  fi
  [ "$moment" -gt 0 ] || return 0
  nap "$moment"
  push_in=$((push_in - moment)) silent=$((silent + moment))
}

# push_all EXIT: send the rest of the log, the stages that are not reported yet, and the exit status; fails at `deadline`
# (see read_clock). The stages at `boundary` are reported before the bytes that follow it are sent. While the log cannot
# be read, pushes without bytes say that the supervisor is there.
push_all() {
  push_in=0
  # A chunk that was read earlier may lack the last bytes.
  chunk_size=0 misplaced=yes
  while :; do
    if ! read_chunk; then
      push
      push_in=$((push_in > 50 ? push_in : 50))
    elif [ "$chunk_size" = "$full_chunk" ]; then
      push
    elif [ -n "$boundary" ]; then
      push && report_stages && boundary=''
    elif [ "$chunk_size" != 0 ] && [ -n "$misplaced" ]; then
      push
    elif
      report_stages
      push "&end=1&exit=$1" && [ "$status" = 200 ] && [ "$chunk_size" = 0 ]; then
      return 0
    fi
    # A shuttle that says `over` in a header still waits for the rest and for the exit status.
    [ -z "$superseded" ] || return 0
    # A build may have removed curl, so that nothing can be sent, and `sleep`, so that this loop would have no pauses.
    case $problem in 126 | 127) return 1 ;; esac
    read_clock
    [ "$now" -lt "$deadline" ] || return 1
    [ "$push_in" -le 1 ] || nap "$((push_in < 100 ? push_in : 100))"
  done
}
