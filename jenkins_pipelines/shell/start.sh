# start FOLDER LOCKS COMMAND…: become the user's command, with the arguments in FOLDER as its environment, and with
# LOCKS as its limit of file locks.
# Arguments whose names the shell itself sets are passed by env(1) in front of the command, all others by one export.
environment=$1 locks=$2
shift 2
# dash and busybox name this limit w, bash names it x.
if (ulimit -w "$locks") 2>/dev/null; then ulimit -w "$locks"; else ulimit -x "$locks" 2>/dev/null; fi
if [ -d "$environment/shell_variables" ]; then
  for file in "$environment"/shell_variables/*; do
    pair=$(cat "$file" && echo .)
    set -- "${pair%.}" "$@"
  done
  rm -rf "$environment/shell_variables"
fi
# -u removes what bash adds to every environment. SHUTTLE_RUN, by which the build's processes are found, is set again,
# because an argument may have that name.
set -- "$(command -v env)" -u _ -u SHLVL -u PWD -u OLDPWD SHUTTLE_RUN="$SHUTTLE_RUN" "$@"
become() {
  take_arguments "$environment/arguments" "$environment/steering"
  exec "$@" </dev/null 5>&-
}
become "$@"
