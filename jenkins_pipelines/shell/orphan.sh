# Sends the rest of the log after the step has ended; gives up after 15 minutes.
# shellcheck disable=SC2034 # the library reads them
read -r run_token
while IFS= read -r variable; do
  # shellcheck disable=SC2163 # NAME=value
  export "$variable"
done
exec >/dev/null
work=$1 stream=$2 max_bytes=$4 exit=$5 ending=$6
console=summary stop='' terminated='' in_haste='' collector=''
read_clock
deadline=$((now + retry_seconds))
begin_forwarding "$3"
report_stages() { :; }
send_end "$exit" || remove_folder "$work"
