
# The folder that lay_left_behind has made; empty = none.
laid=''

# is_laid NAME: whether NAME in the current folder was put there by lay_left_behind.
is_laid() {
  [ -n "$laid" ] || return 1
  case $PWD/$1/ in "$laid"/*) ;; *) return 1 ;; esac
}

# lay_left_behind: put the files and variables of the build that is resumed into the folder `resume` of the source. It is
# removed together with the source.
lay_left_behind() {
  [ -d "$work/environment/resume" ] || [ -d "$work/environment/resume_files" ] || return 0
  begin_stage resume 'Fetching the files and variables of the build that is resumed'
  if [ -e "$sources/resume" ] || [ -L "$sources/resume" ]; then
    say 'The source has a folder resume, so the files and variables of the build that is resumed are not put there.'
  else
    laid=$sources/resume
    mkdir "$laid"
    [ ! -d "$work/environment/resume/variables" ] || lay_variables
    for file in "$work/environment/resume_files"/*; do
      [ ! -f "$file" ] || lay_file
    done
  fi
  rm -rf "$work/environment/resume" "$work/environment/resume_files"
  end_stage 0 succeeded
}

# lay_variables: each variable becomes a file that only the agent's user may read.
lay_variables() {
  (cd "$work/environment" && tar -cf - resume/variables) | tar -xof - -C "$sources" ||
    fail resume_unpacking 'The variables of the build that is resumed could not be written on the agent.'
}

# lay_file: fetch the file of the list entry `file`, and compare its checksum if the agent has sha256sum.
lay_file() {
  line=`cat "$file"`
  id=${line%% *} line=${line#* }
  sum=${line%% *} name=${line#* }
  case $name in */*) mkdir -p "$sources/resume/${name%/*}" ;; esac
  say "Fetching resume/$name"
  ask "$setup_token" GET "resume/$id" -o "$sources/resume/$name" ||
    fail resume_refused "The shuttle did not hand out $name of the build that is resumed (HTTP status $status)."
  command -v sha256sum >/dev/null || return 0
  found=`sha256sum <"$sources/resume/$name"`
  [ "${found%% *}" = "$sum" ] ||
    fail resume_differs "The file $name of the build that is resumed has changed since that build stored it."
}

lay_left_behind
