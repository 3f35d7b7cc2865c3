
# fail REASON MESSAGE: end this step; the last step reports both to the shuttle.
fail() {
  printf '%s\n%s\n' "$1" "$2" >"$work/failure"
  printf -- '-----> %s\n' "$2"
  exit 1
}
work=$PWD/shuttle
