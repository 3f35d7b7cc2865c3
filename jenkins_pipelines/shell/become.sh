
# Exports the build's arguments, each of which is a file, for the process that replaces this shell. Their names and
# values cannot affect this shell: it keeps them as positional parameters, exports all of them by one `export`, and
# reads no variable afterwards.

# take_arguments FOLDER…: export the NAME=VALUE of every file in the folders, and remove the folders.
take_arguments() {
  for folder; do
    shift
    for file in "$folder"/*; do
      [ -f "$file" ] || continue
      pair=$(cat "$file" && echo .)
      set -- "$@" "${pair%.}"
    done
    [ ! -d "$folder" ] || rm -rf "$folder"
  done
  # shellcheck disable=SC2163 # the parameters are NAME=VALUE
  [ $# = 0 ] || export "$@"
}
