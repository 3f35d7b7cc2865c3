
builder=$(cat "$work/builder")
keep_docker_context
for folder in "$work"/destinations/*; do
  destination=$(cat "$folder/reference")
  printf -- '-----> Pushing %s\n' "$destination"
  if [ "$builder" = docker ]; then
    docker tag "$local_image" "$destination"
    printf '%s\n' "$destination" >>"$work/local_images"
    set -- docker push "$destination"
  else
    set -- "$builder" push --digestfile "$work/digest"
    [ ! -f "$folder/insecure" ] || set -- "$@" --tls-verify=false
    set -- "$@" "$local_image" "docker://$destination"
  fi
  logged with_credentials "$folder" "$@" ||
    fail registry_refused "The registry did not take $destination: $(last_line)"
  [ "$builder" != docker ] || sed -n 's/.*digest: \(sha256:[0-9a-f]*\).*/\1/p' "$work/output" >"$work/digest"
done
