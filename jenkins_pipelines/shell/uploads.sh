
# What messages say of the place of a file; empty = the source.
place_of_uploads=' in dist/'

# url_name NAME: NAME as one path segment of a URL, with encoded slashes.
url_name() {
  case $1 in
    *[!A-Za-z0-9._/-]*) printf %s "$1" | od -An -v -tx1 | tr -d ' \n' | sed 's/../%&/g' ;;
    *) printf %s "$1" | sed 's,/,%2F,g' ;;
  esac
}

# is_utf8 NAME: whether NAME is UTF-8. The period keeps line ends at the end of NAME.
is_utf8() {
  [ "`printf %s. "$1" | as_utf8`" = "$1." ]
}

# check_name NAME: sets `readable` to NAME with `?` for each byte that a message cannot show. Fails on an invalid name.
check_name() {
  readable=$1
  case $1 in *[!A-Za-z0-9._/-]*) ;; *) return 0 ;; esac
  readable=`printf %s "$1" | tr '\001-\037\177' '?'`
  is_utf8 "$1" || {
    readable=`printf %s "$readable" | tr '\200-\377' '?'`
    fail artifact_refused "The name $readable$place_of_uploads is not UTF-8; rename it."
  }
  [ "$readable" = "$1" ] ||
    fail artifact_refused "The name $readable$place_of_uploads has a control character; rename it."
}

# upload_file FILE. No byte flows while the shuttle copies the file to its object store: 1 GiB takes a minute or two.
# bldst waits 600 s for that, too.
upload_file() {
  check_name "$1"
  { true <"./$1"; } 2>/dev/null || refuse_unreadable "file $readable"
  say "Uploading $1"
  encoded=`url_name "$1"`
  ask "$run_token" PUT "artifacts/$encoded" --speed-time 600 -T "./$1" || refuse_artifact
}

# refuse_artifact: fail with the message of the shuttle's answer.
refuse_artifact() {
  json_field message
  fail artifact_refused "The shuttle refused the artifact $readable (HTTP status $status)${field:+: ${field%.}}."
}

# refuse_unreadable WHAT: fail, because a build without one of its artifacts has not succeeded.
refuse_unreadable() {
  fail artifact_refused "The $1$place_of_uploads cannot be read; change its permissions."
}

# A link could point anywhere on the agent: it is logged, not followed. Fifos and devices are skipped.
upload_folder() {
  for file in "$1"/* "$1"/.[!.]* "$1"/..?*; do
    [ -z "$stop$terminated" ] || stop_build
    push_in=$((push_in - 1))
    forward
    if [ -L "$file" ]; then
      say "Not uploaded, because it is a link: ${file#./}"
    elif is_laid "${file#./}"; then
      say "Not uploaded, because it is of the build that is resumed: ${file#./}"
    elif [ -d "$file" ]; then
      # The shuttle accepts no name of that length, and dash exits at a thousand nested calls of a function.
      [ ${#file} -lt 1000 ] ||
        fail artifact_refused "Folders$place_of_uploads are nested too deep; pack them into an archive."
      if [ ! -r "$file" ] || [ ! -x "$file" ]; then
        check_name "${file#./}"
        refuse_unreadable "folder $readable"
      fi
      upload_folder "$file"
    elif [ -f "$file" ]; then
      upload_file "${file#./}"
    fi
  done
}

# upload_dist: upload the files in dist/, under their names in it.
upload_dist() {
  if [ -L "$sources/dist" ]; then
    say 'Not uploaded, because it is a link: dist'
  elif [ -d "$sources/dist" ]; then
    { [ -r "$sources/dist" ] && cd "$sources/dist" 2>/dev/null; } ||
      fail artifact_refused 'The folder dist/ cannot be read; change its permissions.'
    LC_ALL=C # names are bytes here
    upload_folder .
  fi
}
