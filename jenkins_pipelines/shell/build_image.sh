
# build_image: the builder runs as the user's process.
build_image() {
  choose_files
  choose_builder
  copy_dockerfile
  pull_base_images
  say "Building with $builder"
  local_images=$local_image
  eval "set -- $options"
  try with_base_credentials "$builder_path" build --file "$work/Dockerfile" --tag "$local_image" "$@" "$context_folder" ||
    fail build_failed 'The image could not be built; the lines above say why.' "$ended"
}

# copy_dockerfile: make the Dockerfile that the builder gets, set `options`, and list the base images.
copy_dockerfile() {
  : >"$work/arguments" >"$work/base_images" >"$work/mounts"
  collect_options
  tr -d '\000' <"$sources/$dockerfile" >"$work/Dockerfile.read"
  read_dockerfile copy "$work/Dockerfile"
  # Builders look for these files beside the Dockerfile, which is now a copy in another folder.
  for ending in dockerignore containerignore; do
    [ ! -f "$sources/$dockerfile.$ending" ] || cat "$sources/$dockerfile.$ending" >"$work/Dockerfile.$ending"
  done
  refuse_mounts_out
  rm -f "$work/arguments"
}

# choose_files: sets `context` and `dockerfile`, paths within the source.
choose_files() {
  context=`cat "$work/environment/options/context" 2>/dev/null || echo .`
  dockerfile=`cat "$work/environment/options/dockerfile" 2>/dev/null`
  context=${context%/} context_folder=$sources/$context
  [ "$context" != . ] || context_folder=$sources
  [ -d "$context_folder" ] || fail no_context "The source has no folder $context; name another one as the context."
  refuse_link_out no_context "folder $context" "$context"
  if [ -z "$dockerfile" ]; then
    dockerfile=Dockerfile
    [ ! -f "$sources/$context/Dockerfile" ] || dockerfile=$context/Dockerfile
  fi
  dockerfile=${dockerfile#./}
  [ -f "$sources/$dockerfile" ] || fail no_dockerfile "The source has no file $dockerfile; add it, or name another one."
  for file in "$dockerfile" "$dockerfile.dockerignore" "$dockerfile.containerignore" \
    "$context/.dockerignore" "$context/.containerignore"; do
    [ ! -f "$sources/$file" ] || refuse_link_out no_dockerfile "file ${file#./}" "$file"
  done
  size=`wc -c <"$sources/$dockerfile"`
  [ "$((size))" -le 1048576 ] || fail no_dockerfile 'The Dockerfile is larger than 1 MiB; move texts into files.'
}

# refuse_link_out REASON WHAT PATH
refuse_link_out() {
  ! leads_out "$3" || fail "$1" "The source's $2 is a link that leads out of the source; replace it by its target."
}

# with_base_credentials COMMAND…: run the builder; only docker gets the credentials for base images. A RUN of docker is
# in a container of the daemon and cannot read the client's files. A RUN of buildah or podman may be in a chroot, and
# can leave it. So buildah and podman have no credentials during the build, and a private image has to be pulled before:
# pull_base_images does that for the images that the Dockerfile names.
with_base_credentials() {
  if [ "$builder" = docker ]; then
    with_credentials "$base_credentials" "$@"
  else
    run_unprotected "$workspace" "$@"
  fi
}

# pull_base_images: pull the images of FROM, COPY --from and RUN --mount whose registries need credentials or lack TLS.
# docker's daemon knows which registries lack TLS; buildah and podman get --tls-verify=false for the pulls of these
# images only, not for the whole build. `run` removes the files of the arguments that it gives to its program. The build
# still needs them, so the pulls get none.
pull_base_images() {
  arguments_folder=none
  insecure_hosts=$newline`cat "$work/environment/insecure_registries" 2>/dev/null`$newline
  while read -r image; do
    insecure='' host=docker.io
    case $image in *[.:]*/* | localhost/*) host=${image%%/*} ;; esac
    case $host in
      localhost | localhost:* | 127.*.*.* | '[::1]' | '[::1]:'*) insecure=yes ;;
    esac
    case $insecure_hosts in *"$newline$host$newline"*) insecure=yes ;; esac
    [ "$builder" != docker ] || insecure=''
    case $base_credentials in
      *"\"$host\":"*) ;;
      *) [ -n "$insecure" ] || continue ;;
    esac
    try with_credentials "$base_credentials" "$builder_path" pull ${insecure:+--tls-verify=false} "$image" ||
      fail build_failed "The base image $image could not be pulled: `last_line`"
  done <"$work/base_images"
  arguments_folder=environment
}
