#!/bin/sh
# Three steps, reported with curl. If the build fails and is resumed, the steps that are done are skipped.
set -eu

curl -fsS -o report.sh "$BLDST_API_URL/report.sh"
. ./report.sh
trap '[ "$?" = 0 ] || on_failure "The build failed."' EXIT

if is_done 20; then
  disk=$(cat resume/variables/disk)
else
  report_state 20 "making the disk"
  disk=disk-of-$SHUTTLE_BUILD_ID
  echo "made $disk" | tee disk.txt
  checkpoint "the disk is made" 20 disk.txt "disk=$disk"
fi

if ! is_done 40; then
  report_state 40 "configuring the disk"
  # This step fails until the source has the file `mended`.
  [ -f mended ] || exit 1
  echo "configured $disk"
fi

report_state 60 "testing the disk"
echo "tested $disk"
record_artifact "disk" text "disks/$disk"
