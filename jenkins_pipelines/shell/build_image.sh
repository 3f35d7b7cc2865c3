
# A docker:// source is copied by the next step.
if [ -f "$work/source_image/reference" ]; then exit 0; fi
dockerfile=$(cat "$work/options/dockerfile" 2>/dev/null || echo Dockerfile)
[ -f "source/$dockerfile" ] || fail no_dockerfile "The source has no file $dockerfile; add it, or name another one."
choose_builder

# Ordinary arguments are told by name, their values go by the builder's environment. A name that would steer the builder
# itself cannot go there: its value stands on the builder's command line.
names=
set --
for file in "$work"/arguments/*; do
  [ -f "$file" ] || continue
  pair=$(cat "$file" && echo .)
  names="$names ${pair%%=*}"
  set -- "$@" --build-arg "${pair%%=*}"
done
for file in "$work"/steering/* "$work"/shell_variables/*; do
  [ -f "$file" ] || continue
  pair=$(cat "$file" && echo .)
  names="$names ${pair%%=*}"
  set -- "$@" --build-arg "${pair%.}"
done
for file in "$work"/labels/*; do
  [ -f "$file" ] || continue
  pair=$(cat "$file" && echo .)
  set -- "$@" --label "${pair%.}"
done
[ ! -f "$work/no_cache" ] || set -- "$@" --no-cache

# A RUN's history line holds the values of its arguments; only buildah and podman can leave it out.
if [ -f "$work/has_secrets" ]; then
  case $builder in
    docker) echo '-----> docker keeps the values of build arguments, secret ones too, in the history of the image.' ;;
    *)
      # Layers would be kept on the agent with their history; before --omit-history, only a squash of layers drops it.
      if "$builder" build --help | grep -q -e --omit-history; then
        set -- "$@" --omit-history --layers=false
      else
        set -- "$@" --layers --squash
      fi
      ;;
  esac
fi

: >"$work/base_images.txt"
insert_arguments "$names" <"source/$dockerfile" >"$work/Dockerfile"
# docker looks for this name beside the Dockerfile, which is a copy elsewhere now.
[ ! -f "source/$dockerfile.dockerignore" ] || cp "source/$dockerfile.dockerignore" "$work/Dockerfile.dockerignore"

# docker asks its daemon which registries lack TLS. The others are told for those images alone, not for the whole build.
pull_insecure_images() {
  while read -r image; do
    case ${image%%/*} in
      localhost | localhost:* | 127.*.*.* | '[::1]' | '[::1]:'*) ;;
      *) grep -q -x -F -e "${image%%/*}" "$work/insecure_registries" 2>/dev/null || continue ;;
    esac
    case $image in */*) ;; *) continue ;; esac
    logged with_credentials "$work/base_images" "$builder" pull --tls-verify=false "$image" </dev/null ||
      fail build_failed "The base image $image could not be pulled: $(last_line)"
  done <"$work/base_images.txt"
}
[ "$builder" = docker ] || pull_insecure_images

build_with_arguments() {
  take_arguments "$work/arguments"
  exec "$@"
}
printf -- '-----> Building with %s\n' "$builder"
printf '%s\n' "$local_image" >>"$work/local_images"
with_credentials "$work/base_images" build_with_arguments \
  "$builder" build --file "$work/Dockerfile" --tag "$local_image" "$@" source ||
  fail build_failed 'The image could not be built; the lines above say why.'
