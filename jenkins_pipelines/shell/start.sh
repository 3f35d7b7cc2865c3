# start FOLDER COMMAND…: become the user's command with the arguments in FOLDER as its environment.
# Names that the shell sets itself are passed by env(1) in front of the command, all others by one export.
environment=$1
shift
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
