
# with_credentials FOLDER COMMAND…: the folder's config.json for docker, buildah and podman alike; without one, the
# agent's own login counts. By file: --creds would show the password in the process list.
with_credentials() (
  [ ! -f "$1/config.json" ] || export REGISTRY_AUTH_FILE="$1/config.json" DOCKER_CONFIG="$1"
  shift
  "$@"
)

# logged COMMAND…: its output goes to the log as it comes, and to a file.
logged() {
  rm -f "$work/worked"
  { "$@" 2>&1 && : >"$work/worked"; } | tee "$work/output"
  [ -f "$work/worked" ]
}

# last_line: what the command above said last, fit for a message.
last_line() {
  tr -cd '\n\040-\176' <"$work/output" | sed '/^ *$/d' | tail -n 1 | cut -c 1-500
}
