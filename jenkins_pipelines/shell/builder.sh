
# choose_builder: sets `builder` to the first of docker, buildah, podman that works here, `builder_path` to its path.
choose_builder() {
  builder=''
  if docker version --format '{{.Server.Version}}' >/dev/null 2>&1; then
    builder=docker
  elif command -v buildah >/dev/null 2>&1; then
    builder=buildah
  elif command -v podman >/dev/null 2>&1; then
    builder=podman
  fi
  [ -n "$builder" ] ||
    fail no_builder 'The agent has no docker daemon, no buildah and no podman; install one of them there.'
  builder_path=`command -v "$builder"`
  keep_docker_context
}

# keep_docker_context: set DOCKER_HOST to the daemon's address in the agent's docker context. While DOCKER_CONFIG is set
# for credentials, docker does not see that context.
keep_docker_context() {
  [ "$builder" = docker ] && [ -z "${DOCKER_HOST-}" ] || return 0
  DOCKER_HOST=`docker context inspect --format '{{.Endpoints.docker.Host}}' 2>/dev/null` || DOCKER_HOST=''
  if [ -n "$DOCKER_HOST" ]; then export DOCKER_HOST; else unset DOCKER_HOST; fi
}

# The image's name on the agent during the build. The images in `local_images` are removed at the end.
local_image=localhost/build-shuttle:$BUILD_UUID

remove_images() {
  for image in $local_images; do remove_image "$builder_path" "$image"; done
}
