
# Nothing on this machine is touched before the shuttle has said that this run is the one to build.
umask 077
for program in curl tar gzip; do
  command -v "$program" >/dev/null || {
    echo "-----> The agent has no $program; install it there. Nothing was done."
    exit 1
  }
done
if ! ask_shuttle POST claim -H 'Content-Type: application/json' --data-binary "{\"number\":$BUILD_NUMBER}"; then
  case $status in
    409) echo '-----> Refused: this build was claimed by another run or has ended. Nothing was done.' ;;
    401) echo '-----> Refused: the build has ended, or curl is older than 7.55 and sent no token. Nothing was done.' ;;
    *) echo "-----> The build could not be claimed (HTTP status $status). Nothing was done." ;;
  esac
  exit 1
fi

# What an earlier build left here when its agent died; chmod because a build may leave folders that nobody may enter.
for leftover in shuttle source; do
  if [ ! -L "$leftover" ] && [ -d "$leftover" ]; then chmod -R u+rwX "$leftover" 2>/dev/null || :; fi
  rm -rf "$leftover"
done
mkdir shuttle source
printf '%s %s\n' "$BUILD_UUID" "$BUILD_NUMBER" >shuttle/claimed
