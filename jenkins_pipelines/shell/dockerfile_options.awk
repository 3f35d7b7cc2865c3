# Reads the options of COPY, ADD and RUN in a Dockerfile. The file `mounts` lists what could mount a file of the agent,
# each line once: `source PATH` is a path of the context, `id` a cache outside of the builder's folder, `hidden OPTION`
# an option of RUN whose meaning only the builder knows. `many` stands for more mounts than the agent can check in
# seconds.

# read_options: REST is what follows the keyword. As in a builder, quotes and backslashes are removed, and blanks in
# quotes belong to the option. Before an option some builders skip all kinds of Unicode blanks, others single bytes of
# them; here all of these bytes are skipped. Only the first 4 KiB are read.
function read_options(keyword, rest,   cut, size, i, c, quote, option) {
  sub(/^[ \t\013\f\r\200-\377]+/, "", rest)
  cut = length(rest) > 4096
  rest = substr(rest, 1, 4096)
  size = length(rest)
  for (i = 1; substr(rest, i, 2) == "--";) {
    option = quote = ""
    while (i <= size) {
      c = substr(rest, i++, 1)
      if (c == "\\") option = option substr(rest, i++, 1)
      else if (c == quote) quote = ""
      else if (quote == "" && (c == "\"" || c == "'")) quote = c
      else if (quote == "" && index(" \t\013\f\r", c)) break
      else option = option c
    }
    if (!cut || i <= size) use_option(keyword, option)
    while (i <= size && substr(rest, i, 1) ~ /[ \t\013\f\r\200-\377]/) i++
    # If one character is left, it may be the first of the two hyphens of another option.
    if (cut && i >= size) {
      hide_option(keyword, "\"\" and further options")
      return
    }
  }
}

# use_option: list the images and mounts of OPTION. If a mount repeats a field, the last value counts, but of the field
# `type` all values count.
function use_option(keyword, option,   count, fields, i, name, value, types, from, source, id) {
  if (keyword == "run" && option ~ "[^A-Za-z0-9_./,=:@+%~ -]") hide_option(keyword, option)
  if (substr(option, 1, 7) == "--from=") list_image(substr(option, 8))
  if (substr(option, 1, 8) != "--mount=") return
  count = split(substr(option, 9), fields, ",")
  for (i = 1; i <= count; i++) {
    name = substr(fields[i], 1, index(fields[i], "=") - 1)
    value = substr(fields[i], index(fields[i], "=") + 1)
    if (name == "type") types = types " " value
    else if (name == "from") from = value
    else if (name == "source" || name == "src") source = value
    else if (name == "id") id = value
  }
  if (from != "") list_image(from)
  if (keyword != "run") return
  if (index("/" id "/", "/../")) note("id")
  if (from == "" && source != "" && (types ~ /^ *$/ || index(types, " bind"))) note("source " clean_path(source))
}

# hide_option: list OPTION as one that may hide a mount. The message shows at most 200 of its printable characters.
function hide_option(keyword, option) {
  if (keyword != "run" || hides) return
  hides = 1
  gsub(/[^ -~]/, "", option)
  note("hidden " substr(option, 1, 200))
}

function note(line) {
  if ((line in noted) || notes > 1000) return
  noted[line] = 1
  if (++notes > 1000) line = "many"
  print line >> ENVIRON["mounts"]
}

# clean_path: PATH as the builder reads it, relative to the context. The root is the context, and `..` removes the name
# before it, even if that is a link.
function clean_path(path,   count, names, i, depth, cleaned) {
  count = split(path, names, "/")
  for (i = 1; i <= count; i++) {
    if (names[i] == "..") depth -= (depth > 0)
    else if (names[i] != "" && names[i] != ".") names[++depth] = names[i]
  }
  for (i = 1; i <= depth; i++) cleaned = cleaned (i > 1 ? "/" : "") names[i]
  return cleaned
}
