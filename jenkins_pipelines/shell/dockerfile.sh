
# insert_arguments NAMES: copy a Dockerfile from standard input to standard output with `ARG NAME` after every FROM, and
# write the images that it uses to the file base_images.txt. An instruction continues while its lines end with the
# escape character; comments and empty lines do not end it. The lines of a heredoc of RUN, COPY or ADD are not
# instructions. TERM ends it: a large Dockerfile may take minutes.
insert_arguments() {
  # shellcheck disable=SC1003 # it is one backslash
  escape='\' directives=yes instruction='' heredocs='' scope='head' stages=' scratch '
  while [ -z "${terminated-}" ] && { IFS= read -r line || [ -n "$line" ]; }; do
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
    # Only the first line of an instruction loses its leading blanks: they may separate two words.
    [ -n "$instruction" ] || line=$stripped
    case $line in
      *["$blanks"])
        # Shells need the square of a line's length to remove the blanks at its end.
        if [ ${#line} -gt 8192 ]; then
          long_line=yes
          return 0
        fi
        line=${line%"${line##*[!"$blanks"]}"}
        ;;
    esac
    case $line in
      *"$escape$escape") instruction=$instruction$line ;;
      *"$escape")
        instruction=$instruction${line%"$escape"}
        continue
        ;;
      *) instruction=$instruction$line ;;
    esac
    end_instruction "$1"
    instruction=''
  done
}
tab=`printf '\t'`
knows_heredocs=yes has_heredocs='' long_line=''
# A builder separates words by these as well.
more_blanks=`printf '\v\f\r'`
blanks=" $tab$more_blanks"
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
  case $instruction in
    *["$more_blanks"]*) instruction=`printf '%s\n' "$instruction" | tr '\v\f\r' '   '` ;;
  esac
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
    [Oo][Nn][Bb][Uu][Ii][Ll][Dd])
      instruction=${instruction#*"$keyword"}
      case ${1-} in [Rr][Uu][Nn] | [Cc][Oo][Pp][Yy] | [Aa][Dd][Dd]) end_words "$inserted" "$@" ;; esac
      ;;
    [Rr][Uu][Nn] | [Cc][Oo][Pp][Yy] | [Aa][Dd][Dd])
      read_options "$keyword" "${instruction#*"$keyword"}"
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

# list_image NAME: add the image to base_images.txt, unless NAME is the name or number of a stage, or has a variable
# whose value only the builder knows. Left out is also what no image can be called: one that begins with `-` would be
# read as an option, one with a newline would be two.
list_image() {
  [ "$knows_heredocs" = yes ] && expand "$1" || return 0
  case $expanded in
    -* | *[!]A-Za-z0-9._:/@+[-]*) return 0 ;;
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
    [ -z "${terminated-}" ] || return 0
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
  [ -z "$heredocs" ] || has_heredocs=yes
  [ "$knows_heredocs" = yes ] || heredocs=''
}

end_heredoc() {
  delimiter=${heredocs%% *}
  case $delimiter in -*) line=${line#"${line%%[!"$tab"]*}"} ;; esac
  if [ "$line" = "${delimiter#?}" ]; then heredocs=${heredocs#* }; fi
}
