
# The agent's environment may set options of the shell (bash reads SHELLOPTS) and of programs. They are reset, because a
# trace would show tokens, and tar would leave out files of a source.
set +aefuvxC
unset TAR_OPTIONS GZIP GREP_OPTIONS QUOTING_STYLE BLOCK_SIZE LS_BLOCK_SIZE BLOCKSIZE

# Folders in the workspace are removed from PATH, because an earlier build may have written programs into them. So are
# relative folders, because they are in the workspace or near it.
rest=$PATH: kept=''
while [ -n "$rest" ]; do
  folder=${rest%%:*}
  rest=${rest#*:}
  case $folder in
    "$PWD" | "$PWD"/*) ;;
    /*) kept=$kept${kept:+:}$folder ;;
  esac
done
PATH=$kept

# The programs are looked up before users' code runs, because that code may write into a folder of PATH. The name of
# each becomes a function that calls it by its path; builtins of the shell stay builtins.
programs=''
for program in cat chmod curl cut date dd env grep gzip ls mkdir mkfifo od rm sed setsid sh sleep tail tar tr wc; do
  path=`command -v "$program"` || {
    # With a status above 128, Jenkins' TERM has ended the search; the program may exist.
    [ $? -le 128 ] || exit
    echo "-----> The agent has no $program; install it there. Nothing was done."
    exit 1
  }
  eval "${program}_path=\$path"
  case $path in
    *\'*) ;;
    */*) programs="$programs$program() { '$path' \"\$@\"; }
" ;;
  esac
done
eval "$programs"
eval "$library"
eval "$signals"
