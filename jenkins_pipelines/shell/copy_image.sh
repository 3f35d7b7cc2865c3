
# what_the_source_says: why the registry of a docker:// source gave no image.
refuse_source() {
  said=$(last_line)
  case $said in
    *'manifest unknown'* | *'name unknown'* | *'not found'* | *'does not exist'* | *'404'*)
      fail image_not_found "The source image $source_image does not exist: $said" ;;
    *) fail source_refused "The registry of the source image $source_image refused: $said" ;;
  esac
}

copy_with_skopeo() {
  from="$work/source_image" side=
  [ ! -f "$from/insecure" ] || side=--tls-verify=false
  # shellcheck disable=SC2086 # an empty option is no option
  logged with_credentials "$from" quietly skopeo inspect --raw $side "docker://$source_image" || refuse_source
  for to in "$work"/destinations/*; do
    destination=$(cat "$to/reference")
    printf -- '-----> Copying %s to %s\n' "$source_image" "$destination"
    set -- --digestfile "$work/digest"
    [ ! -f "$from/config.json" ] || set -- "$@" --src-authfile "$from/config.json"
    [ ! -f "$to/config.json" ] || set -- "$@" --dest-authfile "$to/config.json"
    [ ! -f "$from/insecure" ] || set -- "$@" --src-tls-verify=false
    [ ! -f "$to/insecure" ] || set -- "$@" --dest-tls-verify=false
    logged skopeo copy --all "$@" "docker://$source_image" "docker://$destination" ||
      fail registry_refused "The registry did not take $destination: $(last_line)"
  done
}

# quietly COMMAND…: without its answer, which is a manifest and no news to anybody.
quietly() {
  "$@" >/dev/null
}

pull_source_image() {
  choose_builder
  set -- "$source_image"
  if [ "$builder" != docker ] && [ -f "$work/source_image/insecure" ]; then set -- --tls-verify=false "$@"; fi
  printf -- '-----> Pulling %s\n' "$source_image"
  logged with_credentials "$work/source_image" "$builder" pull "$@" || refuse_source
  "$builder" tag "$source_image" "$local_image"
  printf '%s\n' "$local_image" "$source_image" >>"$work/local_images"
}

if [ -f "$work/source_image/reference" ]; then
  source_image=$(cat "$work/source_image/reference")
  if command -v skopeo >/dev/null 2>&1; then
    copy_with_skopeo
    exit 0
  fi
  pull_source_image
fi
