
LC_ALL=C # names are bytes here
if [ ! -d source/dist ] || [ -L source/dist ]; then exit 0; fi
cd source/dist
names='' reports=0

# url_name NAME: one path segment of a URL, its slashes encoded as well.
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
  printf -- '-----> Uploading %s\n' "$1"
  ask_shuttle PUT "artifacts/$in_url" -T "./$1" ||
    fail artifact_refused "The shuttle refused the artifact $in_url (HTTP status $status)."
  names=$names${names:+,}\"$(json_text "$1")\"
  [ ${#names} -lt 50000 ] || report_names
}

# A report has a limit, so many names take several.
report_names() {
  reports=$((reports + 1))
  report "{\"id\":\"artifacts-$reports\",\"state\":\"succeeded\",\"artifacts\":[$names]}" ||
    fail report_refused "The shuttle refused the list of artifacts (HTTP status $status)."
  names=
}

# A link could lead anywhere on the agent: it is named, not followed.
upload_folder() {
  for file in "$1"/* "$1"/.[!.]* "$1"/..?*; do
    if [ -L "$file" ]; then
      printf -- '-----> Not uploaded, because it is a link: %s\n' "${file#./}"
    elif [ -d "$file" ]; then
      upload_folder "$file"
    elif [ -f "$file" ]; then
      upload_file "${file#./}"
    fi
  done
}

upload_folder .
[ -z "$names" ] || report_names
