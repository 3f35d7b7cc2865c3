# Turns the lines of `packer build -machine-readable` into text for people, and collects what they say of results.
#
# A line is `time,target,kind,field,…`; commas and line ends in a field are escaped. Any other line is printed as is.
# The environment has `only` and `kind`, as for packer_variables.awk, and `folder`. That folder has the file `builds` of
# packer_variables.awk, and `manifests`: the lines with the ids of earlier runs in the manifests of the source. This
# program writes into it:
#   outcome  nothing_built or no_such_builder, with names, if no build has an artifact
#   error    the name of the first build that failed, a tab, and its error as one line
#   report   a report for the shuttle: references to artifacts, the first docker image and its digest; JSON
#   files    the files of `file` builders, one per line
#   listed_files   the files that only a manifest lists, one per line: a later step may have removed them
#   tags, images   what is to be removed from docker, separated by blanks
BEGIN {
  FS = "\n"
  folder = ENVIRON["folder"]
  last = "packer has ended: " folder
  while ((getline line < (folder "/manifests")) > 0) earlier[line] = 1
}

# The line of packer_step.sh after packer's output, whose own last line may lack its end.
substr($0, length($0) - length(last) + 1) == last {
  $0 = substr($0, 1, length($0) - length(last))
  if ($0 != "") read_line()
  exit
}

{ read_line() }

function read_line(part) {
  if (!split_line(part)) {
    print
    fflush()
  } else if (part[3] == "ui") show(part[5])
  else if (part[3] == "error") note_error(target, text_of(part[4]))
  else if (part[3] == "artifact") read_artifact(part[5], part)
}

# split_line: whether the line is one of packer's; splits it into `part`, and sets `target`. The text of a build may have
# many commas, but they are escaped. Those in the name of a build are not, so the target may consist of several parts.
function split_line(part, n, i, kind) {
  if ($0 !~ /^[0-9]+,[^,]*,([a-z][a-z-]*|.*,(ui|error|artifact|artifact-count)),/) return 0
  n = split($0, part, ",")
  for (kind = 3; kind < n && part[kind] !~ /^(ui|error|artifact|artifact-count)$/; kind++);
  if (kind == n) kind = 3
  target = part[2]
  for (i = 3; i < kind; i++) target = target "," part[i]
  for (i = kind; i <= n; i++) part[i - kind + 3] = part[i]
  return 1
}

END {
  if (first_error != "") print first_error > (folder "/error")
  if (!ended) {
    if (ENVIRON["only"] != "" && !began) {
      getline all < (folder "/builds")
      printf "%s\n%s\n%s\n", "no_such_builder", ENVIRON["only"], all > (folder "/outcome")
    } else print "nothing_built" > (folder "/outcome")
  } else if (ENVIRON["kind"] == "hcl") warn_of_names()
  if (ended) {
    read_manifest("manifest.json")
    read_manifest("packer-manifest.json")
  }
  listed_results = references + left_out
  if (left_out) print "-----> packer lists " listed_results " results; the build shows the first " references " only."
  write_report()
}

function show(text) {
  text = text_of(text)
  if (text ~ /^ *(==> )?.+ \(docker-push\): .*digest: sha256:/) note_digest(text)
  if (text ~ /^(==>|   ) [^ ]/ || text ~ /^Build '/) began = 1
  print text
  fflush()
}

# The text of a field. `\n` becomes a line end where packer itself makes one. Elsewhere it may be in a secret value: the
# log would not mask that value completely if it were divided into lines.
function text_of(field) {
  gsub(/%!\(PACKER_COMMA\)/, ",", field)
  gsub(/\\r\\n/, "\\n", field)
  sub(/\\r$/, "", field)
  sub(/^\\n/, "\n", field)
  gsub(/\\n\\n/, "\n\n", field)
  gsub(/\\n==> /, "\n==> ", field)
  gsub(/\\n--> /, "\n--> ", field)
  gsub(/\\n\* /, "\n* ", field)
  gsub(/\\n  /, "\n  ", field)
  sub(/\\n$/, "", field)
  return field
}

function note_error(name, text) {
  built[name] = 1
  if (first_error == "") first_error = one_line(name) "\t" one_line(text)
}

# The line has a tag without its repository, and two builders may push the same tag. If one builder pushes it to two
# repositories, the first is that of the first docker reference.
function note_digest(text, found, builder, tag) {
  match(text, /digest: sha256:[0-9a-f]+/)
  if (RLENGTH != 79) return
  found = substr(text, RSTART + 8, 71)
  tag = substr(text, 1, RSTART - 3)
  sub(/.*: /, "", tag)
  builder = text
  sub(/^ *(==> )?/, "", builder)
  sub(/ \(docker-push\): .*/, "", builder)
  if (!((builder, tag) in digest)) digest[builder, tag] = found
}

# The lines of an artifact follow one another: builder-id, id, string, files, end.
function read_artifact(field, part) {
  built[target] = 1
  if (field == "builder-id") {
    type = one_line(text_of(part[6]))
    id = ""
    files = 0
  } else if (field == "id") id = one_line(text_of(part[6]))
  else if (field == "file") file[++files] = text_of(part[7])
  else if (field == "end" || field == "nil") end_artifact(field)
}

function end_artifact(field, i) {
  ended = 1
  if (field == "nil") return
  if (type == "packer.file") {
    for (i = 1; i <= files; i++) {
      print file[i] > (folder "/files")
      known_file[file[i]] = 1
    }
    return
  }
  # The null builder makes nothing. Post-processors list the artifact that they were given once more.
  if (type == "fnoeding.null" || id == "" || (target, id) in listed) return
  listed[target, id] = known[id] = 1
  add_reference(type, id)
  if (type ~ /^packer\.(post-processor\.)?docker/) note_docker(id)
}

# A report has at most 200 references.
function add_reference(type, id) {
  if (references == 200) {
    left_out++
    return
  }
  references++
  list = list (references > 1 ? "," : "") "{\"type\":\"" quoted(type) "\",\"location\":\"" quoted(id) "\",\"state\":50}"
}

# The manifest of packer's post-processor, which has one field per line and keeps what earlier runs have built. Of this
# run it may list artifacts that a later post-processor has replaced, and that packer does not list at the end.
function read_manifest(path, n, line, run, text) {
  if (system("test -f " path) != 0) return # a fifo would block
  while ((getline line < path) > 0) if (line ~ /^  "last_run_uuid": "/) run = line
  close(path)
  if (run == "" || run in earlier) return
  while ((getline line < path) > 0) {
    if (line ~ /^      "builder_type": "/) n = 0
    text[++n] = line
    if (line ~ /^      "packer_run_uuid": "/ && value_of(line) == value_of(run)) read_entry(text, n)
  }
  close(path)
}

function read_entry(text, n, i, type, id, name, has_files) {
  type = value_of(text[1])
  for (i = 2; i < n; i++) {
    if (text[i] ~ /^      "artifact_id": "/) id = one_line(value_of(text[i]))
    if (text[i] !~ /^          "name": "/) continue
    has_files = 1
    name = value_of(text[i])
    if (type == "file" && !(name in known_file)) print name > (folder "/listed_files")
    known_file[name] = 1
  }
  if (has_files || type == "null" || id == "" || id in known) return
  known[id] = 1
  add_reference(one_line(type), id)
}

# The string in a line `"name": "string",`.
function value_of(line) {
  sub(/^ *"[a-z_]*": "/, "", line)
  sub(/",?$/, "", line)
  gsub(/\\u0026/, "\\&", line)
  gsub(/\\u003c/, "<", line)
  gsub(/\\u003e/, ">", line)
  gsub(/\\"/, "\"", line)
  gsub(/\\\\/, "\\", line)
  return line
}

function note_docker(id) {
  if (id !~ /^[a-zA-Z0-9][a-zA-Z0-9._\/:@-]*$/) return
  if (id ~ /^sha256:/) images = images " " id
  else {
    if (image == "") {
      image = id
      image_builder = target
    }
    tags = tags " " id
  }
}

function write_report(tag) {
  if (tags != "") print tags > (folder "/tags")
  if (images != "") print images > (folder "/images")
  if (!references) return
  list = "{\"id\":\"built\",\"artifacts\":[" list "]"
  if (image != "") {
    tag = image
    if (!sub(/.*:/, "", tag) || tag ~ /\//) tag = "latest"
    list = list ",\"image\":\"" quoted(image) "\""
    if ((image_builder, tag) in digest) list = list ",\"digest\":\"" digest[image_builder, tag] "\""
  }
  print list "}" > (folder "/report")
}

# In HCL the names of `only` may be patterns; the plain ones are compared with what was built.
function warn_of_names(i, n, wanted, unknown) {
  n = split(ENVIRON["only"], wanted, ",")
  for (i = 1; i <= n; i++) {
    if (wanted[i] !~ /[*?\[]/ && !(wanted[i] in built)) unknown = unknown (unknown == "" ? "" : ", ") wanted[i]
  }
  if (unknown != "") print "-----> The template has no builders of these names: " unknown
}

function one_line(text) {
  gsub(/[\001-\037\177]+/, " ", text)
  return substr(text, 1, 1000)
}

function quoted(text) {
  gsub(/["\\]/, "\\\\&", text)
  return text
}
