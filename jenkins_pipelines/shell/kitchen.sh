
# kitchen_step BASH KITCHEN: the user's process. Without --destroy, an instance whose test fails would stay.
kitchen_step='[ ! -f gen-kitchen-dockerfile.sh ] || "$1" gen-kitchen-dockerfile.sh || exit
exec "$2" test --destroy=always'

# test_image: `kitchen test`, after the script that writes its Dockerfile, if there is one. The arguments were copied
# before packer ran.
test_image() {
  if [ "`option kitchen`" = never ]; then
    say 'kitchen: never'
  elif [ ! -f "$sources/.kitchen.yml" ]; then
    say 'no .kitchen.yml'
  else
    [ -n "$kitchen_path" ] ||
      fail no_kitchen 'The source has a .kitchen.yml, but the agent has no kitchen; install Chef Workstation there.'
    [ -n "$bash_path" ] || [ ! -f "$sources/gen-kitchen-dockerfile.sh" ] ||
      fail no_kitchen 'The source has a gen-kitchen-dockerfile.sh, but the agent has no bash; install it there.'
    arguments_folder=environment/for_kitchen
    say 'Running kitchen test'
    try run "$sources" "$sh_path" -c "$kitchen_step" kitchen_step "$bash_path" "$kitchen_path" ||
      fail kitchen_failed "kitchen test ended with exit status $ended." "$ended"
  fi
}
