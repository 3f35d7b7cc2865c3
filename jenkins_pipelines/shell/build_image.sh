
# build_image: the builder runs as the user's process.
build_image() {
  dockerfile=$(cat "$work/environment/options/dockerfile" 2>/dev/null || echo Dockerfile)
  [ -f "$sources/$dockerfile" ] || fail no_dockerfile "The source has no file $dockerfile; add it, or name another one."
  choose_builder
  collect_options
  : >"$work/base_images.txt"
  insert_arguments "$names" <"$sources/$dockerfile" >"$work/Dockerfile"
  # docker looks for this file beside the Dockerfile, which is now a copy in another folder.
  [ ! -f "$sources/$dockerfile.dockerignore" ] ||
    cat "$sources/$dockerfile.dockerignore" >"$work/Dockerfile.dockerignore"
  pull_base_images
  begin
  say "Building with $builder"
  local_images=$local_image
  eval "set -- $options"
  with_base_credentials "$builder_path" build --file "$work/Dockerfile" --tag "$local_image" "$@" "$sources" ||
    fail build_failed 'The image could not be built; the lines above say why.' "$ended"
}

# with_base_credentials COMMAND…: only docker gets the credentials for base images while users' code runs: its RUN is in
# a container of the daemon and cannot read the client's files. A RUN of buildah or podman may be in a chroot, which it
# can leave; there only the images of FROM lines, which are pulled before, may be private.
with_base_credentials() {
  if [ "$builder" = docker ]; then
    with_credentials "$base_credentials" "$@"
  else
    run "$workspace" "$@"
  fi
}

# add_option WORD…: append the words to `options`, the builder's command line, quoted for `eval`.
add_option() {
  for word; do
    quoted=''
    while case $word in *\'*) ;; *) false ;; esac; do
      quoted=$quoted${word%%\'*}"'\\''"
      word=${word#*\'}
    done
    options="$options '$quoted$word'"
  done
}

# collect_options: for most arguments only the name is an option; the builder reads the value from its environment. A
# name that would affect the builder itself cannot be there: its value is on the command line.
collect_options() {
  names='' options=''
  for file in "$work"/environment/arguments/*; do
    [ -f "$file" ] || continue
    pair=$(cat "$file" && echo .)
    names="$names ${pair%%=*}"
    add_option --build-arg "${pair%%=*}"
  done
  for file in "$work"/environment/steering/* "$work"/environment/shell_variables/*; do
    [ -f "$file" ] || continue
    pair=$(cat "$file" && echo .)
    names="$names ${pair%%=*}"
    add_option --build-arg "${pair%.}"
  done
  rm -rf "$work/environment/steering" "$work/environment/shell_variables"
  for file in "$work"/environment/labels/*; do
    [ -f "$file" ] || continue
    pair=$(cat "$file" && echo .)
    add_option --label "${pair%.}"
  done
  [ ! -f "$work/environment/no_cache" ] || add_option --no-cache
  [ ! -f "$work/environment/has_secrets" ] || hide_history
}

# hide_history: an image's history has the values of the arguments of a RUN; only buildah and podman can omit it.
hide_history() {
  if [ "$builder" = docker ]; then
    say 'docker keeps the values of build arguments, secret ones too, in the history of the image.'
  elif "$builder_path" build --help | grep -q -e --omit-history; then
    # Layers would be kept on the agent with their history.
    add_option --omit-history --layers=false
  else
    # Before --omit-history, only a squash of layers drops it.
    add_option --layers --squash
  fi
}

# pull_base_images: pull the images of registries that need credentials or lack TLS. docker's daemon knows which
# registries lack TLS; buildah and podman get --tls-verify=false for these images only, not for the whole build.
pull_base_images() {
  while read -r image; do
    insecure='' host=docker.io
    case $image in *[.:]*/* | localhost/*) host=${image%%/*} ;; esac
    case $host in
      localhost | localhost:* | 127.*.*.* | '[::1]' | '[::1]:'*) insecure=yes ;;
      *) ! grep -q -x -F -e "$host" "$work/environment/insecure_registries" 2>/dev/null || insecure=yes ;;
    esac
    [ "$builder" != docker ] || insecure=''
    case $base_credentials in
      *"\"$host\":"*) ;;
      *) [ -n "$insecure" ] || continue ;;
    esac
    with_credentials "$base_credentials" "$builder_path" pull ${insecure:+--tls-verify=false} "$image" ||
      fail build_failed "The base image $image could not be pulled: $(last_line)"
  done <"$work/base_images.txt"
}
