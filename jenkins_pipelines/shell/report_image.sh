
image=$(cat "$work/destinations/000001/reference")
digest=$(cat "$work/digest")
report "{\"id\":\"image\",\"state\":\"succeeded\",\"image\":\"$(json_text "$image")\",\"digest\":\"$digest\"}" ||
  fail report_refused "The shuttle refused the image's report (HTTP status $status)."
printf -- '-----> %s is %s\n' "$image" "$digest"
