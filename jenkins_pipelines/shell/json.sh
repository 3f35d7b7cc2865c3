
# json_text TEXT: the inside of a JSON string; control characters are dropped.
json_text() {
  printf %s "$1" | tr -d '\000-\037\177' | sed 's/[\\"]/\\&/g'
}

# report JSON: tell the shuttle. The text goes by a file: a list of many artifacts is too long for a command line.
report() {
  printf %s "$1" >"$work/report.json"
  ask_shuttle POST report -H 'Content-Type: application/json' --data-binary "@$work/report.json"
}
