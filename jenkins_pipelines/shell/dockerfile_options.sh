
# read_options KEYWORD TEXT: read the options that follow the instruction's keyword. List the images of
# COPY --from=IMAGE and RUN --mount=from=IMAGE,…, and in the file run_options.txt all options of RUN.
read_options() {
  kind=$1 rest=$2
  # Shells need the square of a text's length to take a character from it.
  [ ${#rest} -le 4096 ] || rest=`printf '%.4096s' "$rest"`
  while next_option; do
    case $option in
      --from=*) list_image "${option#--from=}" ;;
      --mount=*) list_image_of_mount "${option#--mount=}" ;;
    esac
    case $kind in [Rr][Uu][Nn]) printf '%s\n' "$option" >>"$work/run_options.txt" ;; esac
    [ ${#2} -le 4096 ] || [ -n "$rest" ] || echo '"" and further options' >>"$work/run_options.txt"
  done
}

# next_option: take the next option from `rest` as a builder reads it: blanks in quotes belong to it, quotes and
# backslashes are removed. Fails if there is none.
next_option() {
  rest=${rest#"${rest%%[!"$blanks"]*}"} option='' quote=''
  case $rest in --*) ;; *) return 1 ;; esac
  while [ -n "$rest" ] && [ -z "${terminated-}" ]; do
    before=${rest%%["$blanks"\"\'\\]*}
    option=$option$before rest=${rest#"$before"}
    character=${rest%"${rest#?}"}
    rest=${rest#?}
    case $quote$character in
      \\ | [\"\']\\)
        option=$option${rest%"${rest#?}"}
        rest=${rest#?}
        ;;
      '"' | "'") quote=$character ;;
      '""' | "''") quote='' ;;
      ["$blanks"]) return 0 ;;
      *) option=$option$character ;;
    esac
  done
}

# list_image_of_mount OPTION,…: list the image from which RUN mounts something.
list_image_of_mount() {
  read_mount "$1"
  [ -z "$mount_from" ] || list_image "$mount_from"
}

# read_mount OPTION,…: sets what a mount of RUN is taken from: `mount_types`, `mount_from`, `mount_source`, `mount_id`.
# If an option is repeated, the last one counts.
read_mount() {
  mount_types='' mount_from='' mount_source='' mount_id='' mount_options=$1,
  while [ -n "$mount_options" ]; do
    value=${mount_options%%,*}
    mount_options=${mount_options#*,}
    case $value in
      type=*) mount_types="$mount_types ${value#*=}" ;;
      from=*) mount_from=${value#*=} ;;
      source=* | src=*) mount_source=${value#*=} ;;
      id=*) mount_id=${value#*=} ;;
    esac
  done
}
