
# fetch_whole PATH FILE: curl takes an answer that was cut within its headers for a whole and empty one (7.88: exit 0),
# so gzip says whether all of it is there. What never gets whole is left to tar, which says why.
fetch_whole() {
  for fetched in 1 2 3 4 5; do
    ask_shuttle GET "$1" -o "$work/$2" || return 1
    if gzip -t "$work/$2" 2>/dev/null; then return 0; fi
    sleep 1
  done
}

umask 077
fetch_whole environment environment.tar.gz ||
  fail environment_refused "The shuttle did not hand out the build's environment (HTTP status $status)."
tar -xzof "$work/environment.tar.gz" -C "$work"
rm "$work/environment.tar.gz"

if [ -f "$work/source_image/reference" ]; then exit 0; fi
fetch_whole source.tar.gz source.tar.gz ||
  fail source_refused "The shuttle did not hand out the build's source (HTTP status $status)."
umask 022
chmod 755 source
tar -xzof "$work/source.tar.gz" -C source || fail source_unpacking "The source could not be unpacked on the agent."
rm "$work/source.tar.gz"
