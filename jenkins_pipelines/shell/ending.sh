
# remove_folder FOLDER: remove it, even if a build has removed the permissions of folders in it.
remove_folder() {
  rm -rf "$1" 2>/dev/null && return
  if [ ! -L "$1" ] && [ -d "$1" ]; then chmod -R u+rwX "$1" 2>/dev/null; fi
  rm -rf "$1" || announce "The agent could not remove $1."
}

# send_end EXIT: send the report in `ending`, if there is one, then the rest of the log with the exit status EXIT; fails
# at `deadline`.
send_end() {
  if [ -n "$ending" ]; then
    if report "$ending"; then
      ending=''
    else
      case $status in 4??) announce "The shuttle refused the reason (HTTP status $status)." ;; esac
    fi
  fi
  push_all "$1" || return 1
  remove_folder "$work"
}
