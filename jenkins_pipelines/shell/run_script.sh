
# The command contains a /, so that an argument PATH affects only the user's process, not the search for the command.
begin_stage build 'Running the build'
if [ -f "$sources/build.sh" ]; then
  command='build.sh'
  set -- ./build.sh
  [ -x "$sources/build.sh" ] || set -- /bin/sh ./build.sh
elif [ -f "$sources/Makefile" ] || [ -f "$sources/makefile" ] || [ -f "$sources/GNUmakefile" ]; then
  command='make'
  make=$(command -v make) || fail no_make 'The source has a Makefile, but the agent has no make; install it there.'
  set -- "$make"
else
  fail no_build_script 'The source has neither build.sh nor a Makefile at its top; add one.'
fi

# This pipeline uses no registry, so the credentials are removed before the user's process starts.
rm -rf "$work/environment/base_images" "$work/environment/source_image" "$work/environment/destinations"
choose_namespace
begin
say "Running $command"
clean=yes
run "$sources" "$@" || fail build_failed "$command ended with exit status $ended." "$ended"
end_stage 0 succeeded
