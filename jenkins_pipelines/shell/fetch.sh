
begin_stage fetch 'Fetching the environment and the source' 10
ask "$setup_token" GET environment -o "$work/environment.tar.gz" ||
  fail environment_refused "The shuttle did not hand out the build's environment (HTTP status $status)."
mkdir "$work/environment"
tar -xzof "$work/environment.tar.gz" -C "$work/environment" ||
  fail environment_refused "The build's environment could not be unpacked on the agent."
rm "$work/environment.tar.gz"
app_id=`cat "$work/environment/app_id"` build_id=`cat "$work/environment/build_id"`

fetch_source() {
  ask "$setup_token" GET source.tar.gz -o "$work/source.tar.gz" ||
    fail source_refused "The shuttle did not hand out the build's source (HTTP status $status)."
  (umask 022 && chmod 755 "$sources" && tar -xzof "$work/source.tar.gz" -C "$sources") ||
    fail source_unpacking "The source could not be unpacked on the agent."
  rm "$work/source.tar.gz"
}
[ -f "$work/environment/source_image/reference" ] || fetch_source
end_stage 0 succeeded
