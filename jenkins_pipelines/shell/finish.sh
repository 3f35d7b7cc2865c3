
umask 077
work=$PWD/shuttle
# A run whose claim was refused touches nothing, not even what the other run left.
[ "$(cat "$work/claimed" 2>/dev/null)" = "$BUILD_UUID $BUILD_NUMBER" ] || exit 0

reason='' message=''
if [ -f "$work/failure" ]; then
  { read -r reason && read -r message; } <"$work/failure" || :
fi
if [ -f "$work/local_images" ]; then
  builder=$(cat "$work/builder")
  while read -r image; do "$builder" rmi "$image" </dev/null >/dev/null 2>&1 || :; done <"$work/local_images"
fi
# Credentials and source go first: the report may have to wait for the shuttle.
for folder in source shuttle; do
  if [ ! -L "$folder" ] && [ -d "$folder" ]; then chmod -R u+rwX "$folder" 2>/dev/null || :; fi
  rm -rf "$folder" || echo "-----> The agent could not remove $PWD/$folder."
done
[ -n "$reason" ] || exit 0
mkdir "$work"
report "{\"id\":\"failure\",\"state\":\"failed\",\"reason\":\"$(json_text "$reason")\",\
\"message\":\"$(json_text "$message")\"}" || echo "-----> The shuttle did not take the reason (HTTP status $status)."
rm -rf "$work"
