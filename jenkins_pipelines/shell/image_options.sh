
# add_option WORD…: append the words to `options`, the builder's command line, quoted for `eval`.
add_option() {
  for word; do
    quoted=''
    while case $word in *\'*) ;; *) false ;; esac; do
      quoted=$quoted${word%%\'*}"'\\''"
      word=${word#*\'}
    done
    options="$options '$quoted$word'"
  done
}

# collect_options: most arguments are given as `--build-arg NAME`, and the builder reads the value from its environment.
# An argument that would affect the builder itself must not be in that environment: it is given as NAME=VALUE.
collect_options() {
  options=''
  for file in "$work"/environment/arguments/*; do
    [ -f "$file" ] || continue
    pair=`cat "$file" && echo .`
    remember_argument "${pair%.}"
    add_option --build-arg "${pair%%=*}"
  done
  for file in "$work"/environment/steering/* "$work"/environment/shell_variables/*; do
    [ -f "$file" ] || continue
    pair=`cat "$file" && echo .`
    remember_argument "${pair%.}"
    add_option --build-arg "${pair%.}"
  done
  rm -rf "$work/environment/steering" "$work/environment/shell_variables"
  for file in "$work"/environment/labels/*; do
    [ -f "$file" ] || continue
    pair=`cat "$file" && echo .`
    add_option --label "${pair%.}"
  done
  [ ! -f "$work/environment/no_cache" ] || add_option --no-cache
  [ ! -f "$work/environment/has_secrets" ] || hide_history
}

# hide_history: an image's history has the values of the build arguments; only buildah and podman can omit it.
hide_history() {
  if [ "$builder" = docker ]; then
    say 'docker keeps the values of build arguments, secret ones too, in the history of the image.'
  elif "$builder_path" build --help | grep -q -e --omit-history; then
    # Without --layers=false the agent would keep layers, which contain the history.
    add_option --omit-history --layers=false
  else
    # Versions without --omit-history drop the history only if they squash the layers.
    add_option --layers --squash
  fi
}
