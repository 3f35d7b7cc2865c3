
# refuse_mounts_out: fail if a mount of RUN could lead to files of the agent. buildah before 1.33 reads the lines of a
# heredoc as instructions, and follows a directive `escape` in the first line only. So the Dockerfile is read in these
# ways, too.
refuse_mounts_out() {
  [ "$builder" != docker ] || return 0
  ! grep -q '<' "$work/Dockerfile.read" || read_dockerfile directives /dev/null
  ! grep -q -i escape "$work/Dockerfile.read" || read_dockerfile backslash /dev/null
  if [ ! -s "$work/mounts" ] || ! follows_links; then return 0; fi
  while IFS= read -r mount; do
    case $mount in
      source\ *) refuse_mount_out "${mount#source }" ;;
      id) fail no_context "A mount of the Dockerfile has an id with '..'; use another one." ;;
      many) fail no_context 'The Dockerfile has mounts of more than 1,000 paths; mount their folders.' ;;
      # Only the builder knows the value of a variable, which may be a mount. Special characters may hide one, too.
      hidden\ *)
        fail no_context "The Dockerfile has RUN ${mount#hidden }, but $builder before $safe_version follows links to the \
agent's files; write the options of RUN without variables, quotes and special characters, or update $builder." ;;
    esac
  done <"$work/mounts"
}

# refuse_mount_out PATH: a path of the context.
refuse_mount_out() {
  [ ! -e "$context_folder/$1" ] || refuse_link_out no_context "path $context/$1" "$context/$1"
}

# follows_links: whether this version of the builder follows a link in the context, or an id with `..`, to a file of the
# agent and mounts that file (CVE-2024-1753, CVE-2024-9675). Sets `safe_version`, the first version that does not.
# docker resolves links within the context.
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
