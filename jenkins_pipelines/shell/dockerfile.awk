# Copies a Dockerfile from standard input to standard output, inserts `ARG NAME` for each build argument after every
# FROM, and lists the images and the mounts that the Dockerfile uses. It reads bytes, not characters (LC_ALL=C). The
# time is proportional to the size of the Dockerfile, even if 1 MiB is one line or half a million lines. So long texts
# are joined from pieces of 4 KiB, and single bytes are taken from pieces of 1 KiB: some awks read a whole text for one.
#
# The environment has `arguments`, a file with a line NAME=VALUE for each build argument; `images` and `mounts`, the
# files to which the lists are appended; and `pass`. The pass `copy` does all of the above. The passes `directives` and
# `backslash` only list mounts: they read the Dockerfile like a builder that does not know heredocs, and `backslash`
# also like one that ignores the directive `escape`.
BEGIN {
  FS = "\n"
  escape = "\\"
  copies = ENVIRON["pass"] == "copy"
  reads_directives = ENVIRON["pass"] != "backslash"
  scope = "head"
  stages["scratch"] = 1
  while ((got = (getline pair < ENVIRON["arguments"])) > 0) {
    name = substr(pair, 1, index(pair, "=") - 1)
    given[name] = substr(pair, index(pair, "=") + 1)
    inserted = inserted "ARG " name "\n"
  }
  if (got < 0) stop(1)
  # Earlier passes have listed these mounts.
  while ((getline line < ENVIRON["mounts"]) > 0) {
    noted[line] = 1
    notes++
  }
  close(ENVIRON["mounts"])
}

{
  if (copies) print
  if (heredocs_ended < heredocs) end_heredoc($0)
  else if ($0 != "") read_line($0)
  else reads_directives = 0
}

# Nothing is inserted after the last line: if that line ends with the escape character, the text would continue it.
END {
  if (status) exit status
  inserted = ""
  end_instruction()
}

function stop(with) {
  status = with
  exit with
}

# Many arguments after each of many FROMs could fill the disk. The limit is that of docker's builder, which gets a
# Dockerfile in a message of 16 MiB at most.
function insert_arguments() {
  if (!copies) return
  bytes_inserted += length(inserted)
  if (bytes_inserted > 16777216) stop(3)
  printf "%s", inserted
}

# An instruction continues while its lines end with the escape character; comments and empty lines do not end it. The
# lines of a heredoc of RUN, COPY or ADD are not instructions.
function read_line(line,   stripped, last) {
  line = without_carriage_return(line)
  if (NR == 1 && substr(line, 1, 3) == "\357\273\277") line = substr(line, 4)
  last = substr(line, length(line))
  if (last == " " || last == "\t") {
    line = without_trailing_blanks(line)
    last = substr(line, length(line))
  }
  stripped = without_leading_blanks(line)
  if (reads_directives) read_directive(stripped)
  if (stripped == "" || substr(stripped, 1, 1) == "#") return
  # On further lines of an instruction leading blanks are kept, because they may separate two words.
  if (instruction == "" && piece == "") line = stripped
  if (last == escape && substr(line, length(line) - 1) != escape escape) {
    add_to_instruction(substr(line, 1, length(line) - 1))
  } else {
    add_to_instruction(line)
    end_instruction()
  }
}

# Directives (`# name=value`) are the first lines of a Dockerfile; only `escape` matters here.
function read_directive(line,   name) {
  if (line !~ /^#[ \t\013\f\r]*[A-Za-z][A-Za-z0-9]*[ \t\013\f\r]*=[ \t\013\f\r]*[^ \t\013\f\r]/) {
    reads_directives = 0
    return
  }
  name = tolower(substr(line, 2, index(line, "=") - 2))
  gsub(/[ \t\013\f\r]/, "", name)
  line = substr(line, index(line, "=") + 1)
  sub(/^[ \t\013\f\r]+/, "", line)
  if (name == "escape") escape = substr(line, 1, 1)
}

function without_carriage_return(line) {
  return substr(line, length(line)) == "\r" ? substr(line, 1, length(line) - 1) : line
}

function add_to_instruction(text) {
  piece = piece text
  if (length(piece) > 4096) {
    instruction = instruction piece
    piece = ""
  }
}

function end_instruction(   text) {
  text = instruction piece
  instruction = piece = ""
  read_instruction(text)
}

# Builders written in Go remove all kinds of Unicode blanks at a line's beginning.
function without_leading_blanks(text) {
  if (index(" \t\013\f\r\302\341\342\343", substr(text, 1, 1))) {
    sub(/^([ \t\013\f\r]|\302[\205\240]|\341\232\200|\342\200[\200-\212\250\251\257]|\342\201\237|\343\200\200)+/, "", text)
  }
  return text
}

# Only spaces and tabs may follow the escape character. The time of a search for `[ \t]+$` would grow with the square of
# a line's length.
function without_trailing_blanks(text,   size, end) {
  size = length(text)
  while (size > 1024 && substr(text, size - 1023, 1024) !~ /[^ \t]/) size -= 1024
  end = substr(text, size < 1024 ? 1 : size - 1023, size < 1024 ? size : 1024)
  text = substr(text, 1, size - length(end))
  size = length(end)
  while (size && index(" \t", substr(end, size, 1))) size--
  return text substr(end, 1, size)
}

function read_instruction(text,   keyword, rest) {
  text = without_leading_blanks(text)
  if (!match(text, /^[^ \t\013\f\r]+/)) return
  # In Go, the lower case of the dotted I (U+0130) is i, so a builder accepts that letter in ONBUILD.
  keyword = tolower(substr(text, 1, RLENGTH))
  rest = substr(text, RLENGTH + 1)
  if (keyword == "from") {
    begin_stage(rest)
    insert_arguments()
  } else if (keyword == "arg") {
    declare_arguments(rest)
  } else if (keyword ~ /^onbu(i|\304\260)ld$/) {
    if (without_leading_blanks(rest) ~ /^([Rr][Uu][Nn]|[Cc][Oo][Pp][Yy]|[Aa][Dd][Dd])([ \t\013\f\r]|$)/) {
      read_instruction(rest)
    }
  } else if (keyword == "run" || keyword == "copy" || keyword == "add") {
    read_options(keyword, rest)
    if (copies) find_heredocs(rest)
  }
}

# begin_stage: TEXT is what follows FROM. Its variables are those of the ARGs before the first FROM.
function begin_stage(text,   count, words, i) {
  count = split(text, words, /[ \t\013\f\r]+/)
  for (i = 1; i <= count && (words[i] == "" || substr(words[i], 1, 2) == "--"); i++);
  scope = "head"
  if (i <= count) list_image(words[i])
  scope = "stage"
  split("", stage)
  if (i + 1 < count && tolower(words[i + 1]) == "as") stages[tolower(words[i + 2])] = 1
}

# list_image: add the image NAME to the list, unless NAME is the name or number of a stage, or has a variable whose
# value only the builder knows. Names that no image can have are left out, too: `-x` would be read as an option.
function list_image(name) {
  if (!copies || (name in names)) return
  if (!index(name, "$")) names[name] = 1
  if (!expand(name, 0)) return
  if (expanded ~ /^-/ || expanded ~ "[^]A-Za-z0-9._:/@+[-]" || expanded !~ /[^0-9]/) return
  if ((tolower(expanded) in stages) || (expanded in listed)) return
  listed[expanded] = 1
  print expanded >> ENVIRON["images"]
}

# find_heredocs: adds a text to `heredoc` for each heredoc that TEXT opens: `-` and the delimiter if the last line may
# be indented (`<<-`), else `=` and the delimiter. Quoted text opens none, but the delimiter itself may be quoted.
function find_heredocs(text,   size, start, part, end, i, c, quote, escaped, word, outside, kept) {
  if (!index(text, "<<")) return
  size = length(text)
  for (start = 1; start <= size; start += 1024) {
    part = substr(text, start, 1024)
    end = length(part)
    for (i = 1; i <= end; i++) {
      c = substr(part, i, 1)
      if (escaped) {
        escaped = 0
        if (quote == "" || kept) word = short(word, word ~ /^[0-9]*<</ ? c : "_")
      } else if (c == "\\" && quote != "'") {
        escaped = 1
      } else if (c == quote) {
        quote = ""
        if (!kept) word = short(word, "_")
      } else if (quote != "") {
        if (kept) word = short(word, c)
      } else if (c == "\"" || c == "'") {
        quote = c
        outside = word
        kept = word ~ /<<-?$/
      } else if (index(" \t\013\f\r", c)) {
        end_word(word)
        word = ""
      } else {
        word = short(word, c)
      }
    }
  }
  end_word(quote == "" ? word : outside)
}

# short: WORD with C appended, up to 300 bytes. More is not needed: only a delimiter of at most 255 bytes is accepted.
function short(word, c) {
  return length(word) < 300 ? word c : word
}

function end_word(word,   kind) {
  if (!index(word, "<<")) return
  sub(/^[0-9]+/, "", word)
  if (substr(word, 1, 2) != "<<") return
  word = substr(word, 3)
  kind = substr(word, 1, 1) == "-" ? "-" : "="
  if (kind == "-") word = substr(word, 2)
  if (word == "" || index(word, "<")) return
  # The builder may read another delimiter here, and so take other lines for the heredoc.
  if (length(word) > 255 || word ~ /[^A-Za-z0-9_.-]/) hide_option("run", "<<" word)
  else heredoc[++heredocs] = kind word
}

function end_heredoc(line,   delimiter) {
  delimiter = heredoc[heredocs_ended + 1]
  if (length(line) < length(delimiter) - 1) return
  line = without_carriage_return(line)
  if (substr(delimiter, 1, 1) == "-") sub(/^\t+/, "", line)
  if (line "" == substr(delimiter, 2)) delete heredoc[++heredocs_ended]
}
