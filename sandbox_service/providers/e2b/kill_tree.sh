# Ends every process of an exec: TERM, then KILL after a grace.
#
#   $1  the exec's process group
#   $2  its marker, which each of its processes carries in its environment
#   $3  milliseconds between TERM and KILL
#
# Prints the ids of those that are left. The group is found by its number; those that left
# it (setsid, nohup) by the marker; those that cleared their environment by
# descent from either.
members() {
  local entry pid ppid pgid stat rest grew=1
  local -A parent=() mine=()
  for entry in $(grep -lzaFx -- "SANDBOX_EXEC_MARKER=$2" /proc/[0-9]*/environ 2>/dev/null); do
    entry=${entry#/proc/}
    mine[${entry%/environ}]=1
  done
  for entry in /proc/[0-9]*; do
    { read -r stat <"$entry/stat"; } 2>/dev/null || continue
    rest=${stat##*) }
    set -- "$1" "$2" $rest
    # A zombie has ended; only its parent can put it away.
    [ "$3" != Z ] || continue
    pid=${entry#/proc/} ppid=$4 pgid=$5
    parent[$pid]=$ppid
    [ "$pgid" != "$1" ] || mine[$pid]=1
  done
  while [ "$grew" = 1 ]; do
    grew=0
    for pid in "${!parent[@]}"; do
      if [ -z "${mine[$pid]}" ] && [ -n "${mine[${parent[$pid]}]}" ]; then
        mine[$pid]=1 grew=1
      fi
    done
  done
  found=()
  for pid in "${!mine[@]}"; do
    [ -z "${parent[$pid]}" ] || [ "$pid" = 1 ] || [ "$pid" = $$ ] || found+=("$pid")
  done
}
signal() {
  kill -s "$1" -- "-$2" 2>/dev/null
  [ "${#found[@]}" = 0 ] || kill -s "$1" "${found[@]}" 2>/dev/null
}
kill -s TERM -- "-$1" 2>/dev/null
members "$1" "$2"
signal TERM "$1"
deadline=$((${EPOCHREALTIME/./} + $3 * 1000))
pause=20
while [ "${#found[@]}" -gt 0 ] && [ "${EPOCHREALTIME/./}" -lt "$deadline" ]; do
  # Each look goes through all processes: the longer it takes, the rarer.
  printf -v wait '0.%03d' "$pause"
  read -rt "$wait" <> <(:)
  [ "$pause" -ge 320 ] || pause=$((pause * 2))
  members "$1" "$2"
done
# A process dies when it is next scheduled, which on a busy machine is not at once.
for ((attempt = 0; attempt < 100 && ${#found[@]} > 0; attempt++)); do
  signal KILL "$1"
  [ "$attempt" = 0 ] || read -rt 0.02 <> <(:)
  members "$1" "$2"
done
echo "${found[*]}"
