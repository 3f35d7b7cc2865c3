#!/bin/sh
# Three steps. If the build fails and is resumed, the steps that are done are skipped.
set -eu

curl -fsS -o bldst "$BLDST_API_URL/bldst"
bldst() { python3 ./bldst "$@"; }

# is_done CODE: whether the build that this one resumes has passed this state.
is_done() {
  [ "${RESUME_MODE-false}" = true ] && [ "$1" -lt "$RESUME_FROM_STATE" ]
}
# begin CODE TEXT: the build is in this state now.
begin() {
  bldst build add-state "$BLDST_BUILD_ID" --state "$1" --status "$2"
}

if is_done 20; then
  echo "The disk is made already, by build $RESUME_BUILD_ID."
  disk=$(bldst variable get "$RESUME_BUILD_ID" disk)
else
  begin 20 "making the disk"
  disk=disk-of-$SHUTTLE_BUILD_ID
  echo "made $disk"
fi
bldst variable set "$BLDST_BUILD_ID" "disk=$disk" --required-for-resume

if is_done 40; then
  echo "The disk is configured already."
else
  begin 40 "configuring the disk"
  # This step fails until the source has the file `mended`: a build that resumes another one may have a new source.
  [ -f mended ] || exit 1
  echo "configured $disk"
fi

begin 60 "testing the disk"
echo "tested $disk"
