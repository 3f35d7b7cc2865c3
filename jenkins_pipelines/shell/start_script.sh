
# start FOLDER COMMAND…: become the user's command with the arguments in FOLDER as its environment.
# Names that the shell itself sets or computes go by env(1) in front of the command; all others by one export.
work=$1
shift
if [ -d "$work/shell_variables" ]; then
  for file in "$work"/shell_variables/*; do
    pair=$(cat "$file" && echo .)
    set -- "${pair%.}" "$@"
  done
  rm -rf "$work/shell_variables"
fi
set -- "$(command -v env)" -u _ -u SHLVL -u PWD -u OLDPWD "$@" # what bash adds to every environment
become() {
  take_arguments "$work/arguments" "$work/steering"
  exec "$@" </dev/null
}
become "$@"
