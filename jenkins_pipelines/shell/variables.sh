
# The values of variables in a Dockerfile's image names: `given_NAME` for the build arguments, listed in `names`;
# `head_NAME` for ARGs before the first FROM, listed in `head_names`; `stage_NAME` for ARGs of the current stage, listed
# in `stage_names`. Names here consist of letters, digits and underscores, so that `eval` is safe.
names='' head_names='' stage_names=''

# remember_argument NAME=VALUE: a build argument.
remember_argument() {
  names="$names ${1%%=*}"
  eval "given_${1%%=*}=\${1#*=}"
}

# declare_argument NAME[=DEFAULT]: a word of an ARG instruction; `scope` is the part of the Dockerfile: head or stage.
declare_argument() {
  declared=${1%%=*} expanded=''
  case $declared in '' | *[!A-Za-z0-9_]*) return 0 ;; esac
  case " $names " in
    *" $declared "*) eval "expanded=\$given_$declared" ;;
    *)
      case $1 in
        *=*) expand "${1#*=}" || return 0 ;;
        *) look_up "$declared" head || return 0 ;;
      esac
      ;;
  esac
  eval "${scope}_$declared=\$expanded ${scope}_names=\"\$${scope}_names \$declared\""
}

# look_up NAME [SCOPE]: sets `expanded` to the variable's value in the scope; fails if it has none. A stage also has the
# build arguments, because an ARG for each is inserted, and counts as having declared the variables of the head.
look_up() {
  where=${2:-$scope} expanded=''
  eval "known=\$${where}_names"
  case " $known " in
    *" $1 "*) eval "expanded=\$${where}_$1" ;;
    *)
      [ "$where" = stage ] || return 1
      case " $names " in *" $1 "*) eval "expanded=\$given_$1" ;; *) look_up "$1" head ;; esac
      ;;
  esac
}

# expand TEXT: sets `expanded` to TEXT without quotes and with the values of its variables; fails if a value is not
# known here, although the builder may know it. Image names and paths are at most 4,096 bytes long; longer texts could
# double with each ARG.
expand() {
  text=$1 built=''
  [ ${#text} -le 4096 ] || return 1
  while :; do
    [ ${#built} -le 4096 ] || return 1
    plain=${text%%[\$\\\"\']*}
    built=$built$plain text=${text#"$plain"}
    case $text in
      '') break ;;
      [\"\']*) text=${text#?} ;;
      \\*)
        text=${text#?}
        built=$built${text%"${text#?}"} text=${text#?}
        ;;
      '${'*)
        text=${text#??}
        expand_braces || return 1
        built=$built$expanded
        ;;
      '$'[A-Za-z_]*)
        text=${text#?}
        variable=${text%%[!A-Za-z0-9_]*}
        text=${text#"$variable"}
        look_up "$variable" || return 1
        built=$built$expanded
        ;;
      *) return 1 ;;
    esac
  done
  expanded=$built
}

# expand_braces: `text` begins after `${`; sets `expanded`, and `text` to what follows `}`.
expand_braces() {
  variable=${text%%[!A-Za-z0-9_]*}
  text=${text#"$variable"}
  case $variable in '') return 1 ;; esac
  case $text in
    '}'*)
      text=${text#?}
      look_up "$variable"
      ;;
    :[-+]* | [-+]*)
      operator=${text%%[!:+-]*}
      case $operator in :[-+]*) operator=${operator%"${operator#??}"} ;; *) operator=${operator%"${operator#?}"} ;; esac
      text=${text#"$operator"}
      take_word || return 1
      choose_value
      ;;
    *) return 1 ;;
  esac
}

# take_word: sets `word` to the text up to the brace that closes `${NAME:-word}`, in which variables may be nested.
take_word() {
  word='' depth=0
  while :; do
    plain=${text%%[\{\}]*}
    [ "$plain" != "$text" ] || return 1
    word=$word$plain text=${text#"$plain"}
    case $text in
      '}'*)
        [ "$depth" -gt 0 ] || break
        depth=$((depth - 1)) word="$word}"
        ;;
      *) depth=$((depth + 1)) word="$word{" ;;
    esac
    text=${text#?}
  done
  text=${text#?}
}

# choose_value: sets `expanded` to the value of `variable` or to `word`, as `operator` says.
choose_value() {
  found=yes
  look_up "$variable" || found=''
  case $operator in :*) [ -n "$expanded" ] || found='' ;; esac
  case $operator$found in
    *-yes) ;;
    *+) expanded='' ;;
    *)
      # In a subshell, because `expand` is running and its variables are global. A Dockerfile could nest thousands.
      expanded=`nesting=${nesting-}+ && [ ${#nesting} -le 10 ] && expand "$word" && printf '%s.' "$expanded"` || return 1
      expanded=${expanded%.}
      ;;
  esac
}
