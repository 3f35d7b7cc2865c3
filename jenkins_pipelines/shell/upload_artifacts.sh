
begin_stage artifacts 'Uploading the artifacts'

# url_name NAME: NAME as one path segment of a URL, with encoded slashes.
url_name() {
  case $1 in
    *[!A-Za-z0-9._/-]*) printf %s "$1" | od -An -v -tx1 | tr -d ' \n' | sed 's/../%&/g' ;;
    *) printf %s "$1" | sed 's,/,%2F,g' ;;
  esac
}

upload_file() {
  in_url=$(url_name "$1")
  [ "$(printf %s "$1" | tr -d '\000-\037\177')" = "$1" ] ||
    fail artifact_refused "The file $in_url in dist/ has a control character in its name; rename it."
  { true <"./$1"; } 2>/dev/null || refuse_unreadable "file $in_url"
  say "Uploading $1"
  ask "$run_token" PUT "artifacts/$in_url" -o /dev/null -T "./$1" ||
    fail artifact_refused "The shuttle refused the artifact $in_url (HTTP status $status)."
}

# refuse_unreadable WHAT: a build that lost an artifact has not succeeded.
refuse_unreadable() {
  fail artifact_refused "The $1 in dist/ cannot be read; change its permissions."
}

# A link could point anywhere on the agent: it is logged, not followed. Fifos and devices are skipped.
upload_folder() {
  for file in "$1"/* "$1"/.[!.]* "$1"/..?*; do
    [ -z "$stop$terminated" ] || stop_build
    push_in=$((push_in - 1))
    forward
    if [ -L "$file" ]; then
      say "Not uploaded, because it is a link: ${file#./}"
    elif [ -d "$file" ]; then
      # No name is that long, and dash ends at the thousandth call of a function within another.
      [ ${#file} -lt 1000 ] || fail artifact_refused 'The folders in dist/ lie too deep; pack them into an archive.'
      if [ ! -r "$file" ] || [ ! -x "$file" ]; then refuse_unreadable "folder $(url_name "${file#./}")"; fi
      upload_folder "$file"
    elif [ -f "$file" ]; then
      upload_file "${file#./}"
    fi
  done
}

if [ -d "$sources/dist" ] && [ ! -L "$sources/dist" ]; then
  { [ -r "$sources/dist" ] && cd "$sources/dist" 2>/dev/null; } ||
    fail artifact_refused 'The folder dist/ cannot be read; change its permissions.'
  LC_ALL=C # names are bytes here
  upload_folder .
fi
[ -z "$stop$terminated" ] || stop_build
conclude 0 succeeded
