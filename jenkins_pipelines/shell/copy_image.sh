
# refuse_source: fail because the source image could not be read; the log's last line decides between the two reasons.
refuse_source() {
  line=`last_line`
  case $line in
    *'manifest unknown'* | *'name unknown'* | *'not found'* | *'does not exist'* | *'404'*)
      fail image_not_found "The source image $source_image does not exist: $line" ;;
    *) fail source_refused "The registry refused to send the source image $source_image: $line" ;;
  esac
}

copy_with_skopeo() {
  # Only the exit status of this command is used; the manifest that it prints is dropped.
  try with_credentials "$source_credentials" "$sh_path" -c 'exec "$@" >/dev/null' quietly \
    "$skopeo_path" inspect --raw ${source_insecure:+--tls-verify=false} "docker://$source_image" || refuse_source
  for number in $destinations; do
    use_destination "$number"
    say "Copying $source_image to $reference"
    set -- --digestfile "$work/digest"
    if [ -n "$source_credentials" ]; then
      write_credentials source "$source_credentials"
      set -- "$@" --src-authfile "$work/credentials/source/config.json"
    fi
    if [ -n "$credentials" ]; then
      write_credentials destination "$credentials"
      set -- "$@" --dest-authfile "$work/credentials/destination/config.json"
    fi
    [ -z "$source_insecure" ] || set -- "$@" --src-tls-verify=false
    [ -z "$insecure" ] || set -- "$@" --dest-tls-verify=false
    try with_credentials '' "$skopeo_path" copy --all "$@" "docker://$source_image" "docker://$reference" ||
      fail registry_refused "The registry did not accept $reference: `last_line`"
  done
}

pull_source_image() {
  choose_builder
  set -- "$source_image"
  if [ "$builder" != docker ] && [ -n "$source_insecure" ]; then set -- --tls-verify=false "$@"; fi
  say "Pulling $source_image"
  local_images="$local_image $source_image"
  try with_credentials "$source_credentials" "$builder_path" pull "$@" || refuse_source
  try run_unprotected "$workspace" "$builder_path" tag "$source_image" "$local_image" || refuse_source
}
