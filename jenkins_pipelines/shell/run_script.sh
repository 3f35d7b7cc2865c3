
begin_stage build 'Running the build' "$state_of_build"

# take_makefile: sets `makefile` to the file that make would read.
take_makefile() {
  for makefile in GNUmakefile makefile Makefile; do
    if [ -f "$sources/$makefile" ]; then return 0; fi
  done
  return 1
}

# refuse_link_out NAME
refuse_link_out() {
  ! leads_out "$1" ||
    fail no_build_script "The source's $1 is a link that leads out of the source; replace it by its target."
}

# read_first_line: sets `first_line` to the beginning of build.sh. The kernel reads 256 bytes of it.
read_first_line() {
  first_line=`dd bs=512 count=1 <"$sources/build.sh" 2>/dev/null | tr '\000' ' '`
  first_line=${first_line%%"$newline"*}
  case $first_line in
    "$mark_8"* | "$mark_16_le"* | "$mark_16_be"*)
      fail build_script_encoding 'build.sh begins with a byte order mark (BOM); save it as UTF-8 without one.' ;;
    "$elf"*) ;;
    '#!'*"$carriage_return"* | *"$carriage_return")
      fail build_script_encoding 'The first line of build.sh ends with CR LF, as Windows writes it; save it with LF.' ;;
  esac
}

# read_interpreter: sets `interpreter` and `argument` as the kernel reads them from the first line of a script: all that
# follows the interpreter is one argument.
read_interpreter() {
  interpreter=/bin/sh argument=''
  case $first_line in '#!'*[!"$blanks"]*) ;; *) return 0 ;; esac
  argument=${first_line#'#!'}
  argument=${argument#"${argument%%[!"$blanks"]*}"}
  argument=${argument%"${argument##*[!"$blanks"]}"}
  interpreter=${argument%%["$blanks"]*}
  argument=${argument#"$interpreter"}
  argument=${argument#"${argument%%[!"$blanks"]*}"}
  case $interpreter in */*) ;; *) interpreter=./$interpreter ;; esac
}
tab=`printf '\t'`
blanks=" $tab"
# The byte order marks of UTF-8 and UTF-16, and the first bytes of a compiled program.
mark_8=`printf '\357\273\277'` mark_16_le=`printf '\377\376'` mark_16_be=`printf '\376\377'` elf=`printf '\177ELF'`

# The command contains a /, so that an argument PATH affects only the user's process, not the search for the command.
if [ -f "$sources/build.sh" ]; then
  command='build.sh'
  refuse_link_out build.sh
  read_first_line
  set -- ./build.sh
  if [ ! -x "$sources/build.sh" ]; then
    read_interpreter
    set -- "$interpreter" ${argument:+"$argument"} ./build.sh
  fi
elif take_makefile; then
  command='make'
  refuse_link_out "$makefile"
  make=`command -v make` || fail no_make 'The source has a Makefile, but the agent has no make; install it there.'
  set -- "$make"
else
  fail no_build_script 'The source has neither build.sh nor a Makefile at its top; add one.'
fi

say "Running $command"
try run "$sources" "$@" || fail build_failed "$command ended with exit status $ended." "$ended"
end_stage 0 succeeded
