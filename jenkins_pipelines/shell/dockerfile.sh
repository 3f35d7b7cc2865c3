
# read_dockerfile PASS COPY: run dockerfile.awk in this pass, and write the copy of the Dockerfile to the file COPY.
read_dockerfile() {
  [ -n "$awk_path" ] || fail no_awk 'The agent has no awk, which reads the Dockerfile; install it there.'
  pass=$1 arguments=$work/arguments images=$work/base_images mounts=$work/mounts LC_ALL=C \
    "$awk_path" "$dockerfile_awk" <"$work/Dockerfile.read" >"$2" || case $? in
    3) fail no_dockerfile "An ARG for each build argument after each FROM makes the Dockerfile larger than 16 MiB; \
use fewer arguments or stages." ;;
    *) fail build_failed "The agent's awk could not read the Dockerfile; look for free memory and disk space there." ;;
  esac
}

# remember_argument NAME=VALUE: write a build argument for dockerfile.awk, which reads one per line. A value with a
# newline is replaced by `?`: the name of an image can contain neither of them.
remember_argument() {
  case ${1#*=} in
    *"$newline"*) printf '%s\n' "${1%%=*}=?" ;;
    *) printf '%s\n' "$1" ;;
  esac >>"$work/arguments"
}
awk_path=`command -v awk`
