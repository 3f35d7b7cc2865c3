
# upload_packer_files: upload the files of `file` builders, those that the option keep names, and those in dist/. The
# first two have their path in the source as their name. A file that only a manifest lists may have been removed since.
upload_packer_files() {
  cd "$sources" || fail artifact_refused 'The folder of the source has been removed, so no file can be uploaded.'
  place_of_uploads='' sent=$newline
  kept=`option keep`
  locale=${LC_ALL-}
  LC_ALL=C # names are bytes here
  for names in files listed_files; do
    made=''
    # A build has at most 1000 artifacts, whose names have at most 900 bytes each.
    [ ! -f "$results/$names" ] || made=`dd bs=64k count=16 <"$results/$names" 2>/dev/null`
    set -f
    IFS=$newline
    # shellcheck disable=SC2086 # one word per line
    set -- $made
    unset IFS
    set +f
    for file; do
      if [ "$names" = files ] || [ -f "$file" ]; then upload_made "$file"; fi
    done
  done
  set -f
  IFS=$newline
  # shellcheck disable=SC2086
  set -- $kept
  unset IFS
  set +f
  for pattern; do upload_matches "$pattern"; done
  place_of_uploads=' in dist/'
  upload_dist
  LC_ALL=$locale
  cd "$workspace" || :
}

# upload_made FILE: upload a file that a builder has made, as packer says.
upload_made() {
  plain_path "$1"
  name=${name#"$sources"/}
  name=${name#./}
  case /$name/ in
    //* | */../*)
      say "Not uploaded, because it is not in the source's folder: $1"
      return 0
      ;;
  esac
  [ -f "$name" ] || fail artifact_refused "packer has made $name, but there is no such file; look at what removes it."
  upload_one "$name"
}

# plain_path PATH: sets `name` to the path with one slash for // and /./, which a target in the template and a pattern in
# keep may have. The shell would need a time that is quadratic in the length, and users' code may write a name of 1 MiB.
plain_path() {
  name=$1
  case $1 in *//* | */./*) name=`printf '%s\n' "$1" | sed 's|/\(\.\{0,1\}/\)*|/|g'` ;; esac
}

# upload_matches PATTERN
upload_matches() {
  IFS=''
  # shellcheck disable=SC2086 # a pattern
  set -- $1
  unset IFS
  [ -e "$1" ] || say "No file matches the pattern in keep: $1"
  for match; do
    plain_path "$match"
    match=${name#./}
    if is_laid "$match"; then
      say "Not uploaded, because it is of the build that is resumed: $match"
    elif [ -d "$match" ] && [ ! -L "$match" ] && ! leads_out "$match"; then
      upload_folder "${match%/}"
    elif [ -f "$match" ]; then
      upload_one "$match"
    fi
  done
}

# upload_one FILE: upload the file once. Those in dist/ are left to upload_dist, which names them without that folder.
upload_one() {
  case $1 in dist/*) return 0 ;; esac
  case $sent in *"$newline$1$newline"*) return 0 ;; esac
  sent=$sent$1$newline
  if [ -L "$1" ] || leads_out "$1"; then
    say "Not uploaded, because it is a link: $1"
    return 0
  fi
  [ ! -e "dist/$1" ] ||
    fail artifact_refused "There are two files for the artifact $1, in the source and in dist/; rename one."
  upload_file "$1"
}

# report_references: send what packer has stored elsewhere, and the image. packer_lines.awk cuts texts between any two
# bytes. The shuttle accepts 256 KiB; users' code could have replaced the file by a larger one.
report_references() {
  [ -f "$results/report" ] || return 0
  dd bs=64k count=5 <"$results/report" 2>/dev/null | tr -d '\000' | as_utf8 >"$work/report"
  report "@$work/report" ||
    fail report_refused "The shuttle refused the report of the artifacts (HTTP status $status)."
}
