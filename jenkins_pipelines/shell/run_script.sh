
# The command has a / in it, so that an argument PATH is the user's process's affair only.
if [ -f source/build.sh ]; then
  command='build.sh'
  set -- ./build.sh
  [ -x source/build.sh ] || set -- /bin/sh ./build.sh
elif [ -f source/Makefile ] || [ -f source/makefile ] || [ -f source/GNUmakefile ]; then
  command='make'
  make=$(command -v make) || fail no_make 'The source has a Makefile, but the agent has no make; install it there.'
  set -- "$make"
else
  fail no_build_script 'The source has neither build.sh nor a Makefile at its top; add one.'
fi

# This pipeline needs no registry, so its user's process shall find no credentials for one.
rm -rf "$work/base_images" "$work/source_image" "$work/destinations"
printf -- '-----> Running %s\n' "$command"
cd source
ended=0
env -i PATH="${PATH:-/usr/local/bin:/usr/bin:/bin}" HOME="${HOME:-$PWD}" LANG="${LANG:-C.UTF-8}" CI=true \
  SHUTTLE_APP_ID="$(cat "$work/app_id")" SHUTTLE_BUILD_ID="$(cat "$work/build_id")" \
  sh -ec "$inner" start "$work" "$@" || ended=$?
[ "$ended" = 0 ] || fail build_failed "$command ended with exit status $ended."
