# The values of variables in the image names of a Dockerfile: `given` has the build arguments, `head` the ARGs before
# the first FROM, `stage` those of the current stage.

# declare_arguments: TEXT follows the keyword ARG; `scope` is the part of the Dockerfile: head or stage.
function declare_arguments(text,   count, words, i) {
  count = split(text, words, /[ \t\013\f\r]+/)
  for (i = 1; i <= count; i++) declare_argument(words[i])
}

function declare_argument(word,   at, name) {
  at = index(word, "=")
  name = at ? substr(word, 1, at - 1) : word
  if (name !~ /^[A-Za-z0-9_]+$/) return
  if (name in given) expanded = given[name]
  else if (!(at ? expand(substr(word, at + 1), 0) : look_up(name, "head"))) return
  if (scope == "head") head[name] = expanded
  else stage[name] = expanded
}

# look_up: sets `expanded` to the variable's value in the scope; returns 0 if it has none. In a stage all build
# arguments have a value, because an ARG for each is inserted. The variables of the head count as declared in every
# stage.
function look_up(name, where) {
  expanded = ""
  if (where == "stage" && name in stage) expanded = stage[name]
  else if (where == "stage" && name in given) expanded = given[name]
  else if (name in head) expanded = head[name]
  else return 0
  return 1
}

# expand: sets `expanded` to TEXT without quotes and with the values of its variables; returns 0 if a value is not known
# here, although the builder may know it. It also returns 0 for texts above 4,096 bytes, because no image's name is
# longer and each ARG could double them, and for `${NAME:-word}` that is nested deeper than 10.
function expand(text, nesting,   size, i, c, built, end) {
  size = length(text)
  if (size > 4096 || nesting > 10) return 0
  for (i = 1; i <= size; i++) {
    if (length(built) > 4096) return 0
    c = substr(text, i, 1)
    if (c == "\\") {
      built = built substr(text, ++i, 1)
    } else if (c == "$") {
      end = substr(text, i + 1, 1) == "{" ? expand_braces(text, i + 2, nesting) : expand_name(text, i + 1)
      if (!end) return 0
      built = built expanded
      i = end
    } else if (c != "\"" && c != "'") {
      built = built c
    }
  }
  expanded = built
  return 1
}

# end_of_name: the position of the last character of the name that begins at START.
function end_of_name(text, start) {
  while (substr(text, start, 1) ~ /[A-Za-z0-9_]/) start++
  return start - 1
}

# expand_name: sets `expanded` to the value of `$NAME`, whose name begins at START. Returns the position of its last
# character, or 0 if the value is not known.
function expand_name(text, start,   end) {
  end = end_of_name(text, start)
  if (substr(text, start, 1) !~ /[A-Za-z_]/ || !look_up(substr(text, start, end - start + 1), scope)) return 0
  return end
}

# expand_braces: the same for `${NAME}`, `${NAME:-word}`, `${NAME-word}`, `${NAME:+word}` and `${NAME+word}`.
function expand_braces(text, start, nesting,   end, known, operator, closing, word) {
  end = end_of_name(text, start)
  if (end < start) return 0
  known = look_up(substr(text, start, end - start + 1), scope)
  if (substr(text, end + 1, 1) == "}") return known ? end + 1 : 0
  if (substr(text, end + 1, 1) == ":") {
    end++
    known = known && expanded != ""
  }
  operator = substr(text, end + 1, 1)
  if (operator != "-" && operator != "+") return 0
  closing = closing_brace(text, end + 2)
  if (!closing) return 0
  word = substr(text, end + 2, closing - end - 2)
  if (operator == "+" && !known) expanded = ""
  else if (operator == "+" || !known) {
    if (!expand(word, nesting + 1)) return 0
  }
  return closing
}

# closing_brace: the position of the brace that closes the variable around START, 0 if there is none; variables may be
# nested.
function closing_brace(text, start,   size, depth, c) {
  size = length(text)
  for (depth = 0; start <= size; start++) {
    c = substr(text, start, 1)
    if (c == "}" && !depth--) return start
    if (c == "{") depth++
  }
  return 0
}
