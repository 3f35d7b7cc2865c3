
# insert_arguments NAMES: copy a Dockerfile from standard input to standard output with `ARG NAME` after every FROM, and
# write the images that it uses to the file base_images.txt. An instruction continues while its lines end with the
# escape character; comments and empty lines do not end it. The lines of a heredoc of RUN, COPY or ADD are not
# instructions.
insert_arguments() {
  # shellcheck disable=SC1003 # it is one backslash
  escape='\' directives=yes instruction='' heredocs='' scope='head' stages=' scratch '
  while IFS= read -r line || [ -n "$line" ]; do
    printf '%s\n' "$line"
    line=${line%"$carriage_return"}
    if [ -n "$heredocs" ]; then
      end_heredoc
      continue
    fi
    stripped=${line#"${line%%[!"$blanks"]*}"}
    if [ "$directives" = yes ]; then
      stripped=${stripped#"$byte_order_mark"}
      read_directive || directives=no
    fi
    case $stripped in '' | '#'*) continue ;; esac
    stripped=${stripped%"${stripped##*[!"$blanks"]}"}
    case $stripped in
      *"$escape$escape") instruction="$instruction $stripped" ;;
      *"$escape")
        instruction=$instruction${stripped%"$escape"}
        continue
        ;;
      *) instruction="$instruction$stripped" ;;
    esac
    end_instruction "$1"
    instruction=''
  done
}
tab=`printf '\t'`
blanks=" $tab"
carriage_return=`printf '\r'`
byte_order_mark=`printf '\357\273\277'`

# Directives (`# name=value`) are the first lines of a Dockerfile; only `escape` matters here.
read_directive() {
  case $stripped in '#'*=*) ;; *) return 1 ;; esac
  directive=`printf %s "${stripped#?}" | tr -d " \t" | tr '[:upper:]' '[:lower:]'`
  case ${directive%%=*} in '' | *[!a-z0-9]*) return 1 ;; esac
  if [ "${directive%%=*}" = escape ]; then escape=${directive#*=}; fi
}

end_instruction() {
  set -f
  # shellcheck disable=SC2086 # split into words; set -f keeps patterns as they are
  case $instruction in
    *[!"$blanks"]*) end_words "$1" $instruction ;;
  esac
  set +f
}

# end_words NAMES KEYWORD WORD…
end_words() {
  inserted=$1 keyword=$2
  shift 2
  case $keyword in
    [Ff][Rr][Oo][Mm])
      begin_image_stage "$@"
      for name in $inserted; do printf 'ARG %s\n' "$name"; done
      ;;
    [Aa][Rr][Gg]) for word; do declare_argument "$word"; done ;;
    [Rr][Uu][Nn] | [Cc][Oo][Pp][Yy] | [Aa][Dd][Dd] | [Oo][Nn][Bb][Uu][Ii][Ll][Dd])
      list_images_of_options "$@"
      find_heredocs "$instruction"
      ;;
  esac
}

# begin_image_stage WORD…: the words of a FROM, which knows only the ARGs before the first FROM.
begin_image_stage() {
  while case ${1-} in --*) ;; *) false ;; esac; do shift; done
  scope='head'
  list_image "${1-}"
  scope='stage' stage_names=''
  case ${2-} in
    [Aa][Ss])
      lowered=`printf %s "${3-}" | tr '[:upper:]' '[:lower:]'`
      stages="$stages$lowered "
      ;;
  esac
}

# list_images_of_options WORD…: list the images of COPY --from=IMAGE and RUN --mount=from=IMAGE,….
list_images_of_options() {
  while case ${1-} in --*) ;; *) false ;; esac; do
    case $1 in
      --from=*) list_image "${1#--from=}" ;;
      --mount=*) read_mount "${1#--mount=}" ;;
    esac
    shift
  done
}

# read_mount OPTION,…: a mount of RUN. If it is taken from an image, list the image; if it is a bind mount from the
# context, list its path in the file mounts.txt.
read_mount() {
  mount_type=bind mount_from='' mount_source='' rest=$1,
  while [ -n "$rest" ]; do
    case ${rest%%,*} in
      type=*) mount_type=${rest%%,*} mount_type=${mount_type#*=} ;;
      from=*) mount_from=${rest%%,*} mount_from=${mount_from#*=} ;;
      source=* | src=*) mount_source=${rest%%,*} mount_source=${mount_source#*=} ;;
    esac
    rest=${rest#*,}
  done
  if [ -n "$mount_from" ]; then
    list_image "$mount_from"
  elif [ "$mount_type" = bind ] && [ -n "$mount_source" ] && expand "$mount_source"; then
    printf '%s\n' "$expanded" >>"$work/mounts.txt"
  fi
}

# list_image NAME: add the image to base_images.txt, unless NAME is the name or number of a stage, or has a variable
# whose value only the builder knows. A name that begins with `-` is left out: the builder would read it as an option.
list_image() {
  expand "$1" || return 0
  case $expanded in
    -*) return 0 ;;
    *[!0-9]*) ;;
    *) return 0 ;;
  esac
  lowered=`printf %s "$expanded" | tr '[:upper:]' '[:lower:]'`
  case $stages in *" $lowered "*) return 0 ;; esac
  grep -q -x -F -e "$expanded" "$work/base_images.txt" 2>/dev/null ||
    printf '%s\n' "$expanded" >>"$work/base_images.txt"
}

# find_heredocs TEXT: adds to `heredocs` a word for each heredoc that TEXT opens: `-` and the delimiter if the last line
# may be indented (`<<-`), else `=` and the delimiter. Quoted text opens none, but the delimiter itself may be quoted.
find_heredocs() {
  rest=$1 plain=''
  while :; do
    before=${rest%%[\"\'\\]*}
    plain=$plain$before
    [ "$before" != "$rest" ] || break
    rest=${rest#"$before"}
    case $rest in
      \\*)
        plain=${plain}_ rest=${rest#?}
        rest=${rest#?}
        ;;
      *)
        quote=${rest%"${rest#?}"} rest=${rest#?}
        inner=${rest%%"$quote"*}
        [ "$inner" != "$rest" ] || break
        rest=${rest#*"$quote"}
        case $plain in *'<<' | *'<<-') plain=$plain$inner ;; *) plain=${plain}_ ;; esac
        ;;
    esac
  done
  for word in $plain; do
    word=${word#"${word%%[!0-9]*}"}
    case $word in
      '<<-'*) word=-${word#???} ;;
      '<<'*) word="=${word#??}" ;;
      *) continue ;;
    esac
    case ${word#?} in '' | *[!A-Za-z0-9_.-]*) ;; *) heredocs="$heredocs$word " ;; esac
  done
}

end_heredoc() {
  delimiter=${heredocs%% *}
  case $delimiter in -*) line=${line#"${line%%[!"$tab"]*}"} ;; esac
  if [ "$line" = "${delimiter#?}" ]; then heredocs=${heredocs#* }; fi
}
