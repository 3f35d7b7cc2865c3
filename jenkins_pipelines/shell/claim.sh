
token=$SHUTTLE_TOKEN
unset SHUTTLE_TOKEN JENKINS_SERVER_COOKIE JENKINS_NODE_COOKIE
workspace=$PWD
umask_of_builds=`umask`
umask 077
stream=${SHUTTLE_BRANCH:-main} branch=''
report_prefix=''
[ "$stream" = main ] || branch=,\"branch\":\"`json_text "$stream"`\" report_prefix=$stream.
state_of_build=${SHUTTLE_STATE:-20}
case $state_of_build in *[!0-9]* | 0?* | ????*) state_of_build=20 ;; esac
console=summary stop='' deadline='' stage='' process='' collector='' watcher='' unprotected='' trying='' namespace=''
local_images='' remove_by='' temporary='' line_open='' arguments_folder=environment
# Jenkins sends TERM to this shell and to all its descendants, then waits for them. `terminated` is the time when TERM
# came; the loops check it.
terminated='' in_haste='' unreported=''
trap '[ -n "$terminated" ] || { read_clock && terminated=$now; }' TERM INT HUP

# json_field NAME: sets `field` to the value of NAME in `answer`: a string without escapes, or a number.
json_field() {
  field=${answer#*\""$1"\"}
  [ "$field" != "$answer" ] || field=''
  field=${field#*:}
  field=${field#"${field%%[! "$newline$carriage_return"]*}"}
  case $field in
    \"*)
      field=${field#?}
      field=${field%%\"*}
      ;;
    *) field=${field%%[!0-9.]*} ;;
  esac
}

# claim: claim the build for the Jenkins build BUILD_NUMBER. Nothing on the agent is changed before the shuttle has
# accepted the claim. If an answer is lost, the claim is repeated with the same nonce and gets the same answer. It is
# repeated after TERM, too: if the shuttle has recorded the claim, it waits for this supervisor's report of the end.
claim() {
  make_id
  nonce=$id
  for _ in 1 2 3 4 5; do
    ask "$token" POST claim -H 'Content-Type: application/json' \
      --data-binary "{\"number\":$BUILD_NUMBER,\"nonce\":\"$nonce\"$branch}" || case $status in
      2??) ;;
      [34]??) break ;;
      *)
        [ -n "$terminated" ] && [ -z "$deadline" ] || break
        deadline=$((terminated + 5))
        ;;
    esac
    json_field run_token
    run_token=$field
    json_field setup_token
    setup_token=$field
    if [ -n "$run_token" ]; then
      deadline='' in_haste=''
      return 0
    fi
  done
  refuse_old_curl
  case $status in
    409) announce 'Refused: this build was claimed by another run or has begun. Nothing was done.' ;;
    410) announce 'Refused: the build has ended or was stopped. Nothing was done.' ;;
    401) announce 'Refused: the token does not belong to this build. Nothing was done.' ;;
    *) announce "The build could not be claimed (HTTP status $status). Nothing was done." ;;
  esac
  exit 1
}

# refuse_old_curl: end the step if the agent's curl is the reason why the claim failed. Before 7.55 curl reads no headers
# from a pipe, so it sends no token; before 7.54 it refuses an option (exit status 2).
refuse_old_curl() {
  case $status:$problem in 401:* | *:2) ;; *) return 0 ;; esac
  version=`curl -q --version 2>/dev/null`
  version=${version#curl }
  version=${version%%[!0-9.]*}
  major=${version%%.*} minor=${version#*.}
  minor=${minor%%.*}
  case $major:$minor in *[!0-9:]* | :* | *: | 0?* | *:0?* | *?????:* | *:?????*) return 0 ;; esac
  [ "$((major * 10000 + minor))" -lt 70055 ] || return 0
  announce "The agent has curl $version; install curl 7.55 or newer there. Nothing was done."
  exit 1
}

# temporary_of MARKER: print the path of the folder in which packer keeps its temporary files during the build with this
# marker. The path is short, because packer makes sockets there (Linux limits their paths to 107 bytes).
temporary_of() {
  place=${TMPDIR:-/tmp}
  [ ${#place} -le 60 ] || place=/tmp
  printf %s "$place/packer-${1%"${1#????????}"}"
}

# remove_leftovers [BRANCH-]: remove the folders of an earlier build whose agent was lost, and end that build's
# processes; the file `marker` in its folder has the marker by which they are found. A branch leaves the folders of
# other branches alone, because those may be running. The supervisor of the earlier build may still run, and is ended as
# well: otherwise it would later remove the source folder, which now belongs to this build. A folder is kept while
# orphan.sh sends the rest of its log.
remove_leftovers() {
  for folder in "$PWD@shuttle-$1"*; do
    if [ -L "$folder" ] || [ ! -d "$folder" ]; then continue; fi
    case $1:${folder#"$PWD@shuttle-$1"} in ?*:*[!0-9a-f]*) continue ;; esac
    forwarding=`processes_with "SHUTTLE_FORWARDS=$folder"`
    [ -z "$forwarding" ] || continue
    earlier=`small_file "$folder/supervisor"`
    is_supervisor || earlier=''
    # The earlier supervisor is stopped first and killed last: at its death its runner would end the same processes.
    [ -z "$earlier" ] || kill -STOP "$earlier" 2>/dev/null
    marker=`small_file "$folder/marker"`
    case $marker in
      '' | *[!0-9a-f]*) ;;
      *)
        end_survivors ''
        left=`temporary_of "$marker"`
        remove_folder "$left"
        ;;
    esac
    [ -z "$earlier" ] || kill -KILL "$earlier" 2>/dev/null
    remove_folder "$folder"
  done
  for number in $source_numbers; do
    folder=$sources${number#+1}
    if [ -e "$folder" ] || [ -L "$folder" ]; then remove_folder "$folder"; fi
  done
}

# make_sources: make the folder of the source. If it cannot be removed, because a container has left files of another user
# in it, the source gets another folder: the build must not use those files. Fails if all five have such files; more would
# fill the disk unnoticed. A branch has no `+` in its name.
source_numbers='+1 +2 +3 +4 +5'
make_sources() {
  first_choice=$sources
  for number in $source_numbers; do
    sources=$first_choice${number#+1}
    mkdir "$sources" 2>/dev/null || continue
    [ "$number" = +1 ] ||
      say "Files of an earlier build cannot be removed from $first_choice; this build runs in $sources."
    return 0
  done
  fail source_folder "The agent could not make the folder $first_choice; remove what other users own there and in $first_choice+*."
}

# small_file FILE: print the first 64 bytes of a regular file. A build may have replaced it by a fifo or a large file.
small_file() {
  [ ! -f "$1" ] || dd bs=64 count=1 <"$1" 2>/dev/null | tr -d '\000'
}

# is_supervisor: whether the process `earlier` is the supervisor of `folder`, which has its log as descriptor 4.
is_supervisor() {
  case $earlier in '' | *[!0-9]*) return 1 ;; esac
  case `ls -l "/proc/$earlier/fd/4" 2>/dev/null` in *" -> $folder/log (deleted)") ;; *) return 1 ;; esac
}

claim
unset token
json_field stop_grace_seconds
grace=${field%%.*}
json_field console
console=${field:-summary}
json_field log_url
log_url=$field
json_field max_bytes
max_bytes=${field:-2147483648}
case $grace in '' | *[!0-9]* | 0?* | ??????*) grace=5 ;; esac
case $max_bytes in *[!0-9]* | 0?*) max_bytes=2147483648 ;; esac

if [ "$stream" = main ]; then
  sources=$PWD/source
  remove_leftovers ''
  remove_folder shuttle
else
  sources=$PWD/source-$stream
  remove_leftovers "$stream-"
fi
make_id
work=$PWD@shuttle-$stream-$id
mkdir -m 700 "$work" || {
  announce "The agent could not make the folder $work."
  exit 1
}
make_id
marker=$id
echo "$marker" >"$work/marker"
echo $$ >"$work/supervisor"
open_log
trap end_early EXIT
make_sources
[ -z "$log_url" ] || note "The log is at $log_url"
