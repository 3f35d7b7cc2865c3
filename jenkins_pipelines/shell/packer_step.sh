# Runs packer as the user's process, in the source's folder. The build's arguments are in the environment, so the names
# of all variables here begin with shuttle_: an assignment to the name of an argument would change what packer sees.
#
# packer_step PACKER AWK OPTIONS_OF_AWK FOLDER TEMPLATE KIND ONLY EXCEPT VALIDATE INIT VARIABLES_AWK LINES_AWK OPTION…
# KIND is json or hcl, VALIDATE and INIT are yes or empty. FOLDER has variables/given and variables/own. This script
# writes into it the file `outcome`, whose first line is the reason if the build has failed or may have failed, and the
# files of packer_lines.awk.
shuttle_packer=$1 shuttle_awk=$2 shuttle_live=$3 shuttle_folder=$4 shuttle_template=$5 shuttle_kind=$6 shuttle_only=$7
shuttle_except=$8 shuttle_validates=$9
shift 9
shuttle_init=$1 shuttle_variables_awk=$2 shuttle_lines_awk=$3
shift 3

# shuttle_print FILE
shuttle_print() { LC_ALL=C "$shuttle_awk" 1 "$1"; }

if [ "$shuttle_init" = yes ]; then
  shuttle_status=0
  "$shuttle_packer" init "$shuttle_template" >"$shuttle_folder/initialized" 2>&1 || shuttle_status=$?
  # packer before 1.7 does not know the command.
  [ "$shuttle_status" = 127 ] || shuttle_print "$shuttle_folder/initialized"
  case $shuttle_status in
    0 | 127) ;;
    *)
      echo init_failed >"$shuttle_folder/outcome"
      exit "$shuttle_status"
      ;;
  esac
fi

shuttle_status=0
# In machine-readable output a description of HCL is one line, whose line ends are written as those in values are.
case $shuttle_kind in hcl) shuttle_form='' ;; *) shuttle_form=-machine-readable ;; esac
"$shuttle_packer" inspect ${shuttle_form:+"$shuttle_form"} "$shuttle_template" >"$shuttle_folder/inspected" 2>&1 ||
  shuttle_status=$?
# The awk programs print to their standard output what the log shows, but this one prints the file of variables.
(
  umask 077
  if [ -d "$shuttle_template" ]; then set -- "$shuttle_template"/*.pkr.hcl; else set -- "$shuttle_template"; fi
  status=$shuttle_status kind=$shuttle_kind only=$shuttle_only folder=$shuttle_folder LC_ALL=C \
    "$shuttle_awk" "$shuttle_variables_awk" "$@" >"$shuttle_folder/variables.json"
) || exit
shuttle_print "$shuttle_folder/warnings"
[ ! -s "$shuttle_folder/outcome" ] || exit 1

set -- "$@" -var-file="$shuttle_folder/variables.json"
[ -z "$shuttle_only" ] || set -- "$@" -only="$shuttle_only"
[ -z "$shuttle_except" ] || set -- "$@" -except="$shuttle_except"

if [ "$shuttle_validates" = yes ]; then
  shuttle_status=0
  "$shuttle_packer" validate -var-file="$shuttle_folder/variables.json" ${shuttle_only:+-only="$shuttle_only"} \
    ${shuttle_except:+-except="$shuttle_except"} "$shuttle_template" >"$shuttle_folder/validated" 2>&1 ||
    shuttle_status=$?
  shuttle_print "$shuttle_folder/validated"
  if [ "$shuttle_status" != 0 ]; then
    echo template_invalid >"$shuttle_folder/outcome"
    exit 1
  fi
fi

for shuttle_manifest in manifest.json packer-manifest.json; do
  [ ! -f "$shuttle_manifest" ] || "$shuttle_awk" '/^  "last_run_uuid": /' "$shuttle_manifest"
done >"$shuttle_folder/manifests"

# A stop that comes earlier ends this shell, so that no build begins after it. From here on, packer ends by itself. awk
# ignores the signal of a stop, because packer then still prints what it removes. A process that packer leaves running
# may hold the pipe open, so the last line tells awk that packer has ended.
trap : TERM
exec 3>&1
shuttle_status=`
  {
    {
      trap : TERM
      "$shuttle_packer" build -color=false -machine-readable "$@" "$shuttle_template" 2>&1 3>&- 4>&-
      echo $? >&4
      printf 'packer has ended: %s\n' "$shuttle_folder"
    } | (
      trap '' TERM
      kind=$shuttle_kind only=$shuttle_only folder=$shuttle_folder LC_ALL=C
      export kind only folder LC_ALL
      exec "$shuttle_awk" $shuttle_live "$shuttle_lines_awk" >&3 4>&-
    )
  } 4>&1
`
shuttle_read=$?
exec 3>&-
# packer may have failed because awk no longer reads what it says.
if [ "$shuttle_read" != 0 ]; then
  echo results_lost >"$shuttle_folder/outcome"
  [ "$shuttle_status" != 0 ] || shuttle_status=1
fi
exit "${shuttle_status:-143}"
