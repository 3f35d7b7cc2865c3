
# ask_shuttle METHOD PATH [curl options]: one call with the build's token; sets `status`, the HTTP status.
# Fails on any but 2xx. The shuttle may be restarting: what may heal is asked again for up to 15 minutes.
# The token goes to curl by its standard input, so no process list shows it; -q ignores ~/.curlrc.
ask_shuttle() {
  method=$1 url=${SHUTTLE_URL%/}/-/builds/$BUILD_UUID/$2 tries=0
  shift 2
  give_up_at=$(($(date +%s) + ${SHUTTLE_RETRY_SECONDS:-900}))
  while :; do
    problem=0
    status=$(
      curl -q -s -g -X "$method" -H @- -w '\n%{http_code}' --connect-timeout 10 --speed-limit 1 --speed-time 120 \
        "$@" "$url" <<END
Authorization: Bearer $SHUTTLE_TOKEN
END
    ) || problem=$?
    status=${status##*"
"}
    status=${status:-000}
    case $status in
      408 | 429 | 5??) ;;
      2??) [ "$problem" != 0 ] || return 0 ;;
      [34]??) return 1 ;;
    esac
    # What no waiting heals: a wrong URL, the agent's disk, an untrusted certificate, no curl at all.
    case $problem in 1 | 2 | 3 | 23 | 26 | 27 | 60 | 77 | 126 | 127) break ;; esac
    [ "$(date +%s)" -lt "$give_up_at" ] || break
    [ "$tries" != 1 ] || echo '-----> The shuttle does not answer; asking again.'
    tries=$((tries + 1))
    case $tries in 1 | 2) pause=0.3 ;; 3 | 4) pause=1 ;; 5 | 6) pause=2 ;; *) pause=5 ;; esac
    sleep "$pause" 2>/dev/null || sleep 1
  done
  echo "-----> The shuttle could not be asked (HTTP status $status, curl status $problem)."
  return 1
}
