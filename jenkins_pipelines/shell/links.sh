
# leads_out PATH: whether this path below $sources leads out of it through a link. A source may have links to any path;
# the agent's files at such a path are neither read nor run. `ls` shows a link's target: not every agent has readlink.
leads_out() {
  top=`cd -P "$sources" && pwd -P` place=$sources/$1 hops=0
  while [ -L "$place" ] && [ ! -d "$place" ]; do
    listed=`ls -ld -- "$place"`
    target=${listed#*"$place -> "}
    hops=$((hops + 1))
    if [ "$target" = "$listed" ] || [ "$hops" -gt 40 ]; then return 0; fi
    case $target in
      /*) place=$target ;;
      *) place=${place%/*}/$target ;;
    esac
  done
  [ -d "$place" ] || place=${place%/*}/
  place=`cd -P "$place" 2>/dev/null && pwd -P` || return 0
  case $place/ in "$top"/*) return 1 ;; esac
}
