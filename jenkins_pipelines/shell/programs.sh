
# The programs are looked up before users' code runs, because that code may write into a folder of PATH. The name of
# each becomes a function that calls it by its path; builtins of the shell stay builtins.
programs=''
for program in cat chmod curl cut date dd env grep gzip ls mkdir mkfifo od rm sed setsid sh sleep tail tar tr wc; do
  path=`command -v "$program"` || {
    # Above 128, Jenkins' TERM ended the process that searched for the program.
    [ $? -le 128 ] || exit
    echo "-----> The agent has no $program; install it there. Nothing was done."
    exit 1
  }
  case $path in
    /*) ;;
    */*) path=$PWD/$path ;;
  esac
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
