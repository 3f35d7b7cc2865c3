
# vendor_cookbooks: `berks vendor`, for templates whose provisioner is chef.
vendor_cookbooks() {
  if [ "`option berks`" = never ]; then
    say 'berks: never'
  elif [ ! -f "$sources/Berksfile" ]; then
    say 'no Berksfile'
  else
    [ -n "$berks_path" ] ||
      fail no_berks 'The source has a Berksfile, but the agent has no berks; install Chef Workstation there.'
    copy_arguments for_berks
    arguments_folder=environment/for_berks
    say 'Running berks vendor'
    try run "$sources" "$berks_path" vendor || fail berks_failed "berks vendor ended with exit status $ended." "$ended"
    arguments_folder=environment
  fi
}
