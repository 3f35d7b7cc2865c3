newline='
'
carriage_return=`printf '\r'`
# How long calls are repeated.
retry_seconds=900
# How long a call waits without a byte in either direction.
stall_seconds=120

# call TOKEN METHOD PATH [curl options]: one HTTP call. Sets `status` (HTTP), `problem` (curl's exit status) and
# `answer` (head, body). curl reads the token from a pipe, because process lists would show an argument, and older
# shells write here-documents to files.
# curl does not inherit descriptor 7: it closes when this shell is killed, and the runner waits for that (processes.sh).
# A call that hangs would keep it open.
# -q ignores ~/.curlrc. The empty `Expect:` keeps curl from waiting up to a second before it sends a large body.
call() {
  bearer=$1 method=$2 url=${SHUTTLE_URL%/}/-/builds/$BUILD_UUID/$3 problem=0 time_limit=''
  shift 3
  make_haste
  if [ -n "$in_haste" ]; then
    read_clock
    # 28 is curl's exit status for a timeout.
    if [ "$now" -ge "$deadline" ]; then status=000 problem=28 && return; fi
    time_limit="--max-time $((deadline - now < 2 ? deadline - now : 2))"
  fi
  # shellcheck disable=SC2086 # an option with its value, or nothing
  answer=`
    exec 7>&-
    printf 'Authorization: Bearer %s\nExpect:\n' "$bearer" |
      curl -q -s -g -X "$method" -H @- -D - --suppress-connect-headers -w '\n%{http_code}' --connect-timeout 10 \
        --speed-limit 1 --speed-time "$stall_seconds" "$@" $time_limit "$url" 2>/dev/null
  ` || problem=$?
  status=${answer##*"$newline"}
  # curl treats an answer that is cut off within its head as complete (7.88: exit 0).
  case $answer in
    *"$carriage_return$newline$carriage_return$newline"*) ;;
    *) status=000 ;;
  esac
}

# ask TOKEN METHOD PATH [curl options]: a call that is repeated after 408, 429, 5xx and no answer, until `deadline` or
# for `retry_seconds`. Fails on any answer but 2xx. Without a `deadline`, a stop ends the repetitions, too. When
# the time is over, `ask` sets `deadline` to now: the build fails then, and its last calls do not wait that long again.
ask() {
  read_clock
  tries=0 give_up_at=$((now + retry_seconds))
  while :; do
    call "$@"
    case $status in
      408 | 429 | 5??) ;;
      2??) [ "$problem" != 0 ] || break ;;
      [34]??) return 1 ;;
    esac
    [ -n "$deadline" ] || [ -z "$stop$terminated" ] || return 1
    read_clock
    [ -z "$deadline" ] || give_up_at=$deadline
    # A repetition cannot help: a wrong URL, an error of the agent's disk, an untrusted certificate, no curl.
    case $problem in 1 | 2 | 3 | 23 | 26 | 27 | 60 | 77 | 126 | 127) give_up_at=0 ;; esac
    if [ "$now" -ge "$give_up_at" ]; then
      [ "$give_up_at" = 0 ] || deadline=$now
      announce "The call to the shuttle failed (HTTP status $status, curl status $problem)."
      return 1
    fi
    [ "$tries" != 1 ] || announce 'The shuttle does not answer; the call is repeated.'
    tries=$((tries + 1))
    case $tries in 1 | 2) nap 30 ;; 3 | 4) nap 100 ;; 5 | 6) nap 200 ;; *) nap 500 ;; esac
  done
  [ -n "$deadline" ] || [ -z "$stop$terminated" ]
}

# read_clock: sets `now` to the seconds since the machine started. Nobody can set that clock, so it moves no time limit.
read_clock() {
  { read -r now _ </proc/uptime && now=${now%%.*}; } 2>/dev/null || now=`date +%s`
}

# make_haste: if Jenkins sends TERM during the step's last calls, limit them to 5 s after TERM (`terminated`).
make_haste() {
  [ -n "$terminated" ] && [ -n "$deadline" ] && [ -z "$in_haste" ] || return 0
  in_haste=yes
  deadline=$((deadline < terminated + 5 ? deadline : terminated + 5))
}

# nap HUNDREDTHS: sleep for that many hundredths of a second. If `sleep` takes no fractions, whole seconds, rounded up.
nap() {
  fraction=$(($1 % 100))
  [ "$fraction" -ge 10 ] || fraction=0$fraction
  sleep "$(($1 / 100)).$fraction" 2>/dev/null || [ -n "$terminated" ] || sleep "$((($1 + 99) / 100))"
}

# announce TEXT: a line on Jenkins' console.
announce() {
  printf -- '-----> %s\n' "$1"
}

# note TEXT: a line on Jenkins' console. The shuttle drops such lines when it copies the console's end into the log.
note() {
  printf '[shuttle] %s\n' "$1"
}

# make_id: sets `id` to 32 hexadecimal digits. The kernel's uuid has 122 random bits, and reading it starts no process.
make_id() {
  IFS=- read -r id a b c d 2>/dev/null </proc/sys/kernel/random/uuid && id=$id$a$b$c$d ||
    id=`dd if=/dev/urandom bs=16 count=1 2>/dev/null | od -An -v -tx1 | tr -d ' \n'`
}

# as_utf8: copy the input, with `?` for each byte that is not UTF-8, because the shuttle refuses a body with such bytes.
as_utf8() {
  octal=`utf8_octal`
  printf %b "$octal"
}

# utf8_octal: print the bytes of the input as \0ooo. Tools differ in what they read as text, so the bytes are compared in
# octal with the patterns of well-formed UTF-8 in RFC 3629. A plus marks the bytes that have matched.
utf8_octal() {
  od -An -v -to1 | tr -d '\n' | sed '
    s/ \(30[2-7]\) \(2..\)/+\1+\2/g
    s/ \(3[123].\) \(2..\)/+\1+\2/g
    s/ 340 \(2[4-7].\) \(2..\)/+340+\1+\2/g
    s/ \(34[1-7]\) \(2..\) \(2..\)/+\1+\2+\3/g
    s/ \(35[0-467]\) \(2..\) \(2..\)/+\1+\2+\3/g
    s/ 355 \(2[0-3].\) \(2..\)/+355+\1+\2/g
    s/ 360 \(2[2-7].\) \(2..\) \(2..\)/+360+\1+\2+\3/g
    s/ \(36[123]\) \(2..\) \(2..\) \(2..\)/+\1+\2+\3+\4/g
    s/ 364 \(2[01].\) \(2..\) \(2..\)/+364+\1+\2+\3/g
    s/ [23]../+077/g
    s/[ +]/\\0/g
  '
}

# json_text TEXT: the inside of a JSON string; control characters are dropped.
json_text() {
  case $1 in
    *[!A-Za-z0-9\ .,:_-]*) printf %s "$1" | as_utf8 | tr -d '\000-\037\177' | sed 's/[\\"]/\\&/g' ;;
    *) printf %s "$1" ;;
  esac
}

report() {
  ask "$run_token" POST report -o /dev/null -H 'Content-Type: application/json' --data-binary "$1"
}
