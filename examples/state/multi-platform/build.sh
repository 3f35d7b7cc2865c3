#!/bin/sh
# Builds an image for each platform at the same time; each has a record of its own, a child of this build.
set -eu

curl -fsS -o bldst "$BLDST_API_URL/bldst"
bldst() { python3 ./bldst "$@"; }

# build_for PLATFORM: build its image, and say so in its own record.
build_for() {
  child=$(bldst build create --build-number "$SHUTTLE_BUILD_ID-$1" --platform "$1")
  bldst build add-state "$child" --state 25 --status "building"
  if [ "$1" = "${BROKEN-}" ]; then
    bldst build add-failure "$child" --state 25 --type quota --message "No machine is free at $1." --retryable
    return 1
  fi
  echo "image for $1" >"dist/$1.txt"
  bldst build update "$child" --image-id "image-$1"
  bldst build add-state "$child" --state 100 --status "completed"
}

mkdir -p dist
bldst build add-state "$BLDST_BUILD_ID" --state 25 --status "building for all platforms"
pids=
for platform in ${PLATFORMS:-aws azure gcp}; do
  build_for "$platform" &
  pids="$pids $!"
done
failed=0
for pid in $pids; do
  wait "$pid" || failed=1
done
bldst build add-state "$BLDST_BUILD_ID" --state 90 --status "all platforms have ended"
bldst build report "$BLDST_BUILD_ID"
exit "$failed"
