
# option NAME: print the option.
option() { cat "$work/environment/options/$1" 2>/dev/null; }

# look_up_programs: called before users' code runs, because that code may write into a folder of PATH.
look_up_programs() {
  packer_path=`command -v packer` || packer_path=''
  berks_path=`command -v berks` || berks_path=''
  kitchen_path=`command -v kitchen` || kitchen_path=''
  bash_path=`command -v bash` || bash_path=''
  docker_path=`command -v docker` || docker_path=''
  awk_path=`command -v awk` || awk_path=''
  # mawk reads and writes whole blocks otherwise, so that a log would appear late.
  awk_options=''
  [ -z "$awk_path" ] || case `"$awk_path" -W version 2>&1 </dev/null` in mawk*) awk_options='-W interactive' ;; esac
}

# copy_arguments NAME: copy the files of the arguments to environment/NAME for a further run, because each run removes
# the files in its `arguments_folder`.
copy_arguments() {
  mkdir "$work/environment/$1"
  for kind in arguments steering shell_variables; do
    [ ! -d "$work/environment/$kind" ] ||
      tar -cf - -C "$work/environment" "$kind" | tar -xof - -C "$work/environment/$1"
  done
}

# choose_template: sets `template`, a path within the source, and `kind`, json or hcl.
choose_template() {
  template=`option template`
  if [ -z "$template" ]; then
    if [ -f "$sources/packer.json" ]; then
      template=packer.json
    elif has_hcl "$sources"; then
      template=.
    else
      fail no_template 'The source has neither packer.json nor *.pkr.hcl at its top; add one, or name the template.'
    fi
  fi
  [ -e "$sources/$template" ] || fail no_template "The source has no $template; add it, or name another template."
  ! leads_out "$template" ||
    fail no_template "The template $template is a link that leads out of the source; replace it by its target."
  kind=json
  case $template in *.pkr.hcl | *.pkr.json) kind=hcl ;; esac
  [ ! -d "$sources/$template" ] || kind=hcl
  if [ -d "$sources/$template" ] && ! has_hcl "$sources/$template"; then
    fail no_template "The folder $template has no files *.pkr.hcl; name a folder that has some, or a file."
  fi
}

# has_hcl FOLDER
has_hcl() {
  for file in "$1"/*.pkr.hcl "$1"/*.pkr.json; do [ ! -f "$file" ] || return 0; done
  return 1
}

# asks_for_plugins: whether the template names plugins, which `packer init` fetches.
asks_for_plugins() {
  [ "`option init`" != never ] && [ "$kind" = hcl ] || return 1
  set -- "$sources/$template"
  [ ! -d "$1" ] || set -- "$1"/*.pkr.hcl "$1"/*.pkr.json
  for file; do
    if [ -f "$file" ] && grep -q required_plugins "$file"; then return 0; fi
  done
  return 1
}

# packer_options: sets `options`, words for `eval`.
packer_options() {
  options=-on-error=`option on_error`
  parallel=`option parallel`
  [ -z "$parallel" ] || options="$options -parallel-builds=$parallel"
}

# packer_environment COMMAND…: run the command with those variables of the agent's environment that packer and docker
# read. packer's temporary files are in a folder that is removed at the end, or by the next build of the workspace
# (remove_leftovers).
packer_environment() {
  temporary=`temporary_of "$marker"`
  mkdir -m 700 "$temporary" ||
    fail no_temporary_folder "The agent could not make the folder $temporary; look for space and permissions there."
  set -- TMPDIR="$temporary" CHECKPOINT_DISABLE=1 PACKER_NO_COLOR=1 "$@"
  for name in PACKER_CACHE_DIR PACKER_CONFIG PACKER_CONFIG_DIR PACKER_PLUGIN_PATH DOCKER_HOST DOCKER_CONFIG \
    DOCKER_CERT_PATH DOCKER_TLS_VERIFY; do
    eval "value=\${$name-}"
    [ -z "$value" ] || set -- "$name=$value" "$@"
  done
  try run "$sources" "$env_path" "$@"
}

# run_packer: validate and build; fails with the reason if packer fails, or has built nothing.
run_packer() {
  [ -n "$packer_path" ] || fail no_packer 'The agent has no packer; install it there.'
  [ -n "$awk_path" ] || fail no_awk 'The agent has no awk, which reads what packer says; install it there.'
  choose_template
  packer_options
  results=$work/environment/packer validates='' init=''
  mkdir "$results"
  mv_variables
  [ "`option validate`" = false ] || validates=yes
  ! asks_for_plugins || init=yes
  say "Running packer on $template"
  # shellcheck disable=SC2086 # the options are words
  packer_environment "$sh_path" -c "$packer_step" packer_step "$packer_path" "$awk_path" "$awk_options" "$results" \
    "$template" "$kind" "`option only`" "`option except`" "$validates" "$init" "$packer_variables_awk" \
    "$packer_lines_awk" $options && set -- 0 || set -- "$ended"
  rm -rf "$results/variables" "$results/variables.json"
  take_images_of_packer
  explain_packer "$1"
}

# mv_variables: the variables are read by the user's process, which must find them in one folder with its results.
mv_variables() {
  [ ! -d "$work/environment/variables" ] || tar -cf - -C "$work/environment" variables | tar -xof - -C "$results"
  rm -rf "$work/environment/variables"
}

# result NAME [LINE]: print the beginning of a line, by default the first, of a file that packer's process has left.
result() {
  [ ! -f "$results/$1" ] || dd bs=64k count=1 <"$results/$1" 2>/dev/null | tr -d '\000' | sed -n "${2:-1}p"
}

# take_images_of_packer: sets `docker_tags` and `docker_images` to the images that clean_docker removes, or if the build
# fails, remove_images.
take_images_of_packer() {
  docker_tags='' docker_images=''
  [ -n "$docker_path" ] && [ "`option clean`" != false ] || return 0
  docker_tags=`result tags` docker_images=`result images`
  local_images="$docker_tags$docker_images"
}

# explain_packer STATUS: fail unless packer has succeeded and built something.
explain_packer() {
  names=`result outcome 2`
  case `result outcome` in
    init_failed) fail packer_failed 'packer init could not get the plugins of the template; the lines above say why.' ;;
    template_invalid)
      # Red Hat's cracklib has a program of this name.
      case `"$packer_path" version 2>&1 </dev/null` in
        *'Packer v'*) ;;
        *) fail no_packer "The agent's $packer_path is another program than HashiCorp's packer; install that there." ;;
      esac
      take_missing
      [ -z "$names" ] || require_variables
      fail template_invalid "packer does not accept $template; the lines above say why."
      ;;
    variable_missing) require_variables ;;
    no_such_builder) refuse_builders ;;
    results_lost)
      fail results_lost 'awk could not collect what packer has built; look at the lines above, and for space on the agent.'
      ;;
    nothing_built)
      [ "$1" != 0 ] ||
        fail nothing_built 'packer has built nothing, although it reports no error; look at only and except.'
      ;;
  esac
  [ "$1" != 0 ] || [ -s "$results/error" ] || return 0
  error=`result error`
  builder=${error%%"$tab"*}
  [ "$builder" != "$error" ] && [ -n "$builder" ] ||
    fail packer_failed "packer ended with exit status $1; the lines above say why." "$1"
  fail packer_failed "packer could not build $builder: ${error#*"$tab"}" "$((${1:-1} == 0 ? 1 : $1))"
}

# take_missing: sets `names` to the variables that `packer validate` misses. inspect does not show those of HCL.
take_missing() {
  names=''
  # Users' code could have replaced the file by a fifo, or by a larger one.
  [ -f "$results/validated" ] || return 0
  names=`dd bs=64k count=16 <"$results/validated" 2>/dev/null |
    sed -n 's/.*Unset variable "\([^"]*\)".*/\1/p; s/.*required variable not set: \([^ ]*\).*/\1/p' |
    sed -n '1,20p' | tr '\n' ' '`
  names=${names% }
}

require_variables() {
  fail variable_missing "The template requires a value of: $names; give it as an argument of the build."
}

refuse_builders() {
  exist=`result outcome 3`
  fail no_such_builder "The template has no builder of the name $names${exist:+; it has: $exist}."
}
tab=`printf '\t'`
