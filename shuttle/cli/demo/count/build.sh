#!/bin/sh
# The build of `shuttle demo --replicas`: it prints for 15 s, so that a replica can be killed meanwhile.
set -eu
for number in $(seq 1 30); do
  echo "line $number of 30"
  sleep 0.5
done
