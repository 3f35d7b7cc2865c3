
# send_end EXIT: send the report in `ending`, if any, then the rest of the log; fails at `deadline`.
send_end() {
  if [ -n "$ending" ]; then
    if report "$ending"; then
      ending=''
    else
      case $status in 4??) announce "The shuttle did not take the reason (HTTP status $status)." ;; esac
    fi
  fi
  push_all "$1" "$deadline" || return 1
  rm -rf "$work"
}
