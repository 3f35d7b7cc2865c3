
# Exports arguments, which are files, for the process that this shell becomes. Their names and values cannot affect this
# shell: they are positional parameters until a single `export`, and no variable is read after it.

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
