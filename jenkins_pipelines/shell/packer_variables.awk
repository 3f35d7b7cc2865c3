# Makes packer's file of variables from the build's, and checks the request against what `packer inspect` says.
#
# The environment has `status`, the exit status of inspect; `kind`, json or hcl; `only`, names joined by commas; and
# `folder`. That folder has the output of inspect in the file `inspected`, and the variables in three files:
# `variables/given` and `variables/own` with one "name":"value" per line, `variables/collections` with one "name":value.
# This program's arguments are the files of the template. It prints the file of variables, and writes into `folder`:
#   warnings   lines of the log
#   outcome    if packer need not be started: a reason, the names that are wrong, and for a builder the names to choose
#              from
#   builds     the names of the template's builds
# A variable that the template does not declare is left out: packer would refuse the file, warn of the variables that
# the shuttle adds, or say nothing.
BEGIN {
  folder = ENVIRON["folder"]
  is_json = ENVIRON["kind"] == "json"
  printf "" > (folder "/warnings")
  while ((getline line < (folder "/inspected")) > 0) {
    if (is_json) read_json(line)
    else read_hcl(line)
  }
  # What inspect has not understood cannot be checked; `validate` says what is wrong.
  if (ENVIRON["status"] != 0) knows_variables = builds = requirements = 0
  if (!is_json) read_collections()
  printf "{"
  write_variables("given", 1)
  write_variables("own", 0)
  print "}"
  if (undeclared != "") warn("The template declares no such variables, so packer does not get them: " undeclared)
  if (braced != "") warn("packer expands {{…}} in the values of these variables: " braced)
  for (i = 1; i <= builds; i++) all = added(all, build[i])
  print all > (folder "/builds")
  check_required()
  check_only()
}

# A line of `packer inspect -machine-readable`: time, target, kind, fields. Commas in a field are escaped.
function read_json(line, part) {
  knows_variables = 1
  if (split(line, part, ",") < 5) return
  if (part[3] == "template-variable") {
    declared[part[4]] = 1
    if (part[6] == "1") required[++requirements] = part[4]
  } else if (part[3] == "template-builder") {
    build[++builds] = part[4]
    # The name is known only to packer.
    if (index(part[4], "{{")) computed = 1
  }
}

# `inspect` describes HCL for people only: a section of variables, one a line, and the sources of each build. Without
# -machine-readable a line end in a value is `\n`, and the line ends of packer itself are real ones.
function read_hcl(line) {
  if (line ~ /^> /) in_variables = line == "> input-variables:"
  if (in_variables) knows_variables = 1
  if (match(line, /^  > .*:$/)) prefix = line ~ /<(unnamed build )?[0-9]+>/ ? "" : substr(line, 5, RLENGTH - 5) "."
  if (line ~ /^    [^ ]/) in_sources = line == "    sources:"
  else if (in_sources && sub(/^      /, "", line) && line !~ /^</) build[++builds] = prefix line
  if (in_variables && match(line, /^var\.[^ :]+:/)) declared[substr(line, 5, RLENGTH - 5)] = 1
}

# If the type of an HCL variable is not string, number or bool, packer accepts no string as its value. `inspect` shows
# no types, so they are read from the template.
function read_collections(i, line, name, pair) {
  while ((getline pair < (folder "/variables/collections")) > 0) collection[name_in(pair)] = pair
  for (i = 1; i < ARGC; i++) {
    name = ""
    while ((getline line < ARGV[i]) > 0) {
      # HCL takes a label without quotes, too.
      if (match(line, /^[ \t]*variable([ \t]+[^ \t"{]+|[ \t]*"[^"]+")[ \t]*[{]/)) {
        name = substr(line, 1, RLENGTH)
        gsub(/^[ \t]*variable[ \t]*"?|"?[ \t]*[{]$/, "", name)
        line = substr(line, RLENGTH)
      }
      if (line ~ /(^|[ \t{])(type[ \t]*=[ \t]*(list|set|map|object|tuple)[ \t]*[(]|default[ \t]*=[ \t]*[[{])/) takes_collection[name] = 1
      if (line ~ /^[}]/) name = ""
    }
  }
}

# The name in a pair `"name":value`, as JSON writes it.
function name_in(pair) {
  match(pair, /^"([^"\\]|\\.)*"/)
  return substr(pair, 2, RLENGTH - 2)
}

function write_variables(file, is_given, pair, name) {
  while ((getline pair < (folder "/variables/" file)) > 0) {
    name = name_in(pair)
    if (knows_variables && !(name in declared)) {
      if (is_given) undeclared = added(undeclared, name)
      continue
    }
    if (name in written) continue
    written[name] = 1
    if (is_given && name in takes_collection && name in collection) pair = collection[name]
    printf "%s%s", separator, pair
    separator = ",\n"
    if (is_json && is_given && index(substr(pair, length(name) + 4), "{{")) braced = added(braced, name)
  }
}

function check_required(i, missing) {
  for (i = 1; i <= requirements; i++) if (!(required[i] in written)) missing = added(missing, required[i])
  if (missing != "") printf "%s\n%s\n", "variable_missing", missing > (folder "/outcome")
}

# Only for JSON, whose names are not patterns.
function check_only(i, n, wanted, exists, unknown, found) {
  n = split(ENVIRON["only"], wanted, ",")
  if (!is_json || !n || !builds || computed) return
  for (i = 1; i <= builds; i++) exists[build[i]] = 1
  for (i = 1; i <= n; i++) {
    if (wanted[i] in exists) found = 1
    else unknown = added(unknown, wanted[i])
  }
  if (unknown == "") return
  if (found) warn("The template has no builders of these names: " unknown ". It has: " all)
  else printf "%s\n%s\n%s\n", "no_such_builder", unknown, all > (folder "/outcome")
}

function added(list, name) {
  if (length(list) > 500) return list ~ /…$/ ? list : list ", …"
  return list (list == "" ? "" : ", ") name
}

function warn(text) {
  print "-----> " text > (folder "/warnings")
}
