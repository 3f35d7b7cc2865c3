
# refuse_mounts_out: fail if a mount of RUN could lead to files of the agent.
refuse_mounts_out() {
  if [ ! -s "$work/run_options.txt" ] && [ -z "$has_heredocs" ] || ! follows_links; then return 0; fi
  # For buildah before 1.33, the lines of a heredoc are instructions.
  knows_heredocs=no
  [ -z "$has_heredocs" ] || insert_arguments '' <"$sources/$dockerfile" >"$work/Dockerfile.read"
  while IFS= read -r option; do
    # A variable, whose value only the builder knows, or another character that has a meaning for it, may hide a mount.
    case $option in
      *[!A-Za-z0-9_./,=:@+%~\ -]*)
        shown=`printf '%s\n' "$option" | tr -cd '\040-\176' | cut -c 1-200`
        fail no_context "The Dockerfile has RUN $shown, but $builder before $safe_version follows links to the agent's \
files, so its options may have no variables, quotes or special characters; write the values out, or update $builder." ;;
      --mount=*) refuse_mount_out "${option#--mount=}" ;;
    esac
  done <"$work/run_options.txt"
}

# follows_links: whether this version of the builder mounts what a link in the context, or an id with `..`, leads to on
# the agent (CVE-2024-1753, CVE-2024-9675); sets `safe_version`. docker resolves links within the context.
follows_links() {
  case $builder in
    docker) return 1 ;;
    buildah) safe_version=1.38 ;;
    podman) safe_version=5.3 ;;
  esac
  version=`"$builder_path" --version 2>/dev/null </dev/null`
  version=${version#*version }
  version=${version%%[!0-9.]*}.
  major=${version%%.*} minor=${version#*.}
  minor=${minor%%.*}
  case $major:$minor in *[!0-9:]* | :* | *: | 0?* | *:0?* | *?????:* | *:?????*) return 0 ;; esac
  [ "$major" -lt "${safe_version%.*}" ] ||
    { [ "$major" = "${safe_version%.*}" ] && [ "$minor" -lt "${safe_version#*.}" ]; }
}

# refuse_mount_out OPTION,…
refuse_mount_out() {
  read_mount "$1"
  case /$mount_id/ in
    */../*) fail no_context "A mount of the Dockerfile has an id with '..'; use another one." ;;
  esac
  [ -z "$mount_from" ] && [ -n "$mount_source" ] || return 0
  case $mount_types in '' | *' bind'*) ;; *) return 0 ;; esac
  clean_path "$mount_source"
  [ ! -e "$context_folder/$cleaned" ] || refuse_link_out no_context "path $context/$cleaned" "$context/$cleaned"
}

# clean_path PATH: sets `cleaned` to the path as the builder reads it: `..` removes the name before it, even if that is a
# link, and the root is the context.
clean_path() {
  unread=$1/ cleaned=''
  while [ -n "$unread" ]; do
    name=${unread%%/*}
    unread=${unread#*/}
    case $name in
      '' | .) ;;
      ..) case $cleaned in */*) cleaned=${cleaned%/*} ;; *) cleaned='' ;; esac ;;
      *) cleaned=$cleaned${cleaned:+/}$name ;;
    esac
  done
}
