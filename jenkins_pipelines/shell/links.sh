
# leads_out PATH: whether this path below $sources leads out of it through a link. A source may have links to any path,
# but files of the agent must be neither read nor run through them. On an agent without readlink, `ls` shows a link's
# target; the `ls` of busybox shows `?` for bytes that are not ASCII.
leads_out() {
  top=`cd -P "$sources" && pwd -P` place=$sources/$1 hops=0
  while [ -L "$place" ] && [ ! -d "$place" ]; do
    target=`readlink "$place" 2>/dev/null` || {
      listed=`ls -ld -- "$place"`
      target=${listed#*"$place -> "}
      [ "$target" != "$listed" ] || return 0
    }
    hops=$((hops + 1))
    [ "$hops" -le 40 ] || return 0
    case $target in
      /*) place=$target ;;
      *) place=${place%/*}/$target ;;
    esac
  done
  [ -d "$place" ] || place=${place%/*}/
  place=`cd -P "$place" 2>/dev/null && pwd -P` || return 0
  case $place/ in "$top"/*) return 1 ;; esac
}
