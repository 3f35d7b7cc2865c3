
# Arguments as files -> environment of one process, without an argument's name or value ever steering this shell.
# Functions have positional parameters of their own: no variable is needed after the one `export`, so no argument,
# whatever its name, can change what is executed.

# take_arguments FOLDER…: export the NAME=VALUE of every file in the folders, which are then gone.
take_arguments() {
  for folder; do
    shift
    for file in "$folder"/*; do
      [ -f "$file" ] || continue
      pair=$(cat "$file" && echo .)
      set -- "$@" "${pair%.}"
    done
    rm -rf "$folder"
  done
  # shellcheck disable=SC2163 # the parameters are NAME=VALUE
  [ $# = 0 ] || export "$@"
}
