
# clean_docker: remove the images that this build has made in docker, and nothing else. The last tag of an image takes
# the image along.
clean_docker() {
  local_images=''
  if [ -z "$docker_tags$docker_images" ]; then
    say 'no image to remove'
    return 0
  fi
  say 'Removing the images of this build from docker'
  # shellcheck disable=SC2086 # one word per image
  [ -z "$docker_tags" ] || try run_unprotected "$workspace" "$docker_path" rmi $docker_tags ||
    say "docker could not remove$docker_tags"
  for image in $docker_images; do
    "$docker_path" image inspect "$image" </dev/null >/dev/null 2>&1 || continue
    try run_unprotected "$workspace" "$docker_path" rmi "$image" || say "docker could not remove $image"
  done
}

# remove_images: remove the same images at the end of a build that has failed, without lines in the log.
remove_images() {
  for image in $docker_tags $docker_images; do remove_image "$docker_path" "$image"; done
}
