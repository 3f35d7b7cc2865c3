
# A stop may have come after the last program.
[ -z "$stop$terminated" ] || stop_build
conclude 0 succeeded
