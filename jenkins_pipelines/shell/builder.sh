
# choose_builder: sets `builder` to the first of docker, buildah, podman that can work here.
choose_builder() {
  builder=
  if docker version --format '{{.Server.Version}}' >/dev/null 2>&1; then
    builder=docker
  elif command -v buildah >/dev/null 2>&1; then
    builder=buildah
  elif command -v podman >/dev/null 2>&1; then
    builder=podman
  fi
  [ -n "$builder" ] ||
    fail no_builder 'The agent has no docker daemon, no buildah and no podman; install one of them there.'
  printf '%s\n' "$builder" >"$work/builder"
  keep_docker_context
}

# Credentials come by DOCKER_CONFIG, which hides the agent's own choice of a daemon: its address is kept.
keep_docker_context() {
  [ "$builder" = docker ] && [ -z "${DOCKER_HOST-}" ] || return 0
  DOCKER_HOST=$(docker context inspect --format '{{.Endpoints.docker.Host}}' 2>/dev/null) || DOCKER_HOST=
  if [ -n "$DOCKER_HOST" ]; then export DOCKER_HOST; else unset DOCKER_HOST; fi
}

# The image's name on the agent while it is made; the last step removes it.
local_image=localhost/build-shuttle:$BUILD_UUID
