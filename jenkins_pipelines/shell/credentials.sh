
# take_images: read destinations and credentials into variables, and remove their files before users' code runs. Each
# destination has the variables `reference_N`, `insecure_N` and `credentials_N`; `destinations` lists the numbers N.
take_images() {
  destinations='' number=0
  for folder in "$work"/environment/destinations/*; do
    [ -d "$folder" ] || continue
    number=$((number + 1)) insecure=''
    destinations="$destinations $number"
    [ ! -f "$folder/insecure" ] || insecure=yes
    reference=`cat "$folder/reference"`
    credentials=`cat "$folder/config.json" 2>/dev/null`
    eval "reference_$number=\$reference insecure_$number=\$insecure credentials_$number=\$credentials"
  done
  source_image=`cat "$work/environment/source_image/reference" 2>/dev/null`
  source_credentials=`cat "$work/environment/source_image/config.json" 2>/dev/null`
  source_insecure=''
  [ ! -f "$work/environment/source_image/insecure" ] || source_insecure=yes
  base_credentials=`cat "$work/environment/base_images/config.json" 2>/dev/null`
  rm -rf "$work/environment/destinations" "$work/environment/source_image" "$work/environment/base_images"
}

# use_destination NUMBER: sets reference, insecure and credentials.
use_destination() {
  eval "reference=\$reference_$1 insecure=\$insecure_$1 credentials=\$credentials_$1"
}

# with_credentials CONFIG COMMAND…: run the command with this config.json (docker, buildah, podman), or with the agent's
# own login if CONFIG is empty. The file exists only while it runs; --creds would show the password in process lists.
with_credentials() {
  config=$1
  shift
  if [ -n "$config" ]; then
    write_credentials own "$config"
    set -- "$env_path" REGISTRY_AUTH_FILE="$work/credentials/own/config.json" DOCKER_CONFIG="$work/credentials/own" "$@"
  fi
  run_unprotected "$workspace" "$@" || :
  rm -rf "$work/credentials"
  return "$ended"
}

# write_credentials NAME CONFIG: write CONFIG to the file credentials/NAME/config.json.
write_credentials() {
  # A build may have removed the folder beside its workspace.
  [ -d "$work" ] || mkdir -m 700 "$work"
  mkdir -p "$work/credentials/$1"
  printf %s "$2" >"$work/credentials/$1/config.json"
}

# last_line: the log's last line that is not blank, as printable ASCII, at most 500 characters.
last_line() {
  tail -c 4096 "/proc/$$/fd/4" | tr -cd '\n\040-\176' | sed '/^ *$/d' | tail -n 1 | cut -c 1-500
}
