#!/bin/sh
# Validates, builds and tests an image that is only a file here, and reports each step.
set -eu

curl -fsS -o bldst "$BLDST_API_URL/bldst"
bldst() { python3 ./bldst "$@"; }

state=0
# report CODE TEXT: the build is in this state now.
report() {
  state=$1
  bldst build add-state "$BLDST_BUILD_ID" --state "$1" --status "$2"
}
failed() {
  bldst build add-failure "$BLDST_BUILD_ID" --state "$state" --type step_failed --message "The step at state $state failed."
}
trap '[ "$?" = 0 ] || failed' EXIT

report 20 "validating the template"
[ -f template.txt ]

report 50 "building the image"
mkdir -p dist
sed "s/@VERSION@/${VERSION:-1}/" template.txt >dist/image.txt
bldst variable set "$BLDST_BUILD_ID" "image_version=${VERSION:-1}"

report 75 "testing the image"
grep -q "version ${EXPECTED:-${VERSION:-1}}\$" dist/image.txt
bldst artifact create "$BLDST_BUILD_ID" --name image --type text --path "dist/image.txt" --state 75 --final
