
push_image() {
  for number in $destinations; do
    use_destination "$number"
    say "Pushing $reference"
    if [ "$builder" = docker ]; then
      try run_unprotected "$workspace" "$builder_path" tag "$local_image" "$reference" ||
        fail registry_refused "The image could not be tagged as $reference: `last_line`"
      local_images="$local_images $reference"
      set -- "$builder_path" push "$reference"
    else
      set -- "$builder_path" push --digestfile "$work/digest"
      [ -z "$insecure" ] || set -- "$@" --tls-verify=false
      set -- "$@" "$local_image" "docker://$reference"
    fi
    try with_credentials "$credentials" "$@" ||
      fail registry_refused "The registry did not accept $reference: `last_line`"
    [ "$builder" != docker ] ||
      tail -c 4096 "/proc/$$/fd/4" | sed -n 's/.*digest: \(sha256:[0-9a-f]*\).*/\1/p' >"$work/digest"
  done
}

report_image() {
  use_destination 1
  digest=`tail -n 1 "$work/digest" | tr -cd 'a-z0-9:'` json_reference=`json_text "$reference"`
  report "{\"id\":\"${report_prefix}image\",\"state\":\"succeeded\",\"image\":\"$json_reference\",\"digest\":\"$digest\"}" ||
    fail report_refused "The shuttle refused the image's report (HTTP status $status)."
  say "$reference is $digest"
}
