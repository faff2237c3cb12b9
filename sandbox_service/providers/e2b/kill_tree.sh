# Finds all processes of some execs, and sends them signals.
#
#   $1  how many milliseconds to wait at most for those that end
#   then for each exec three:
#     what    "term" (and wait), "look" (and wait), "kill" (until all are gone),
#             or a signal's name (once)
#     group   its process group, or 0
#     entry   what each of its processes has in its environment: NAME=value
#
# Prints a line for each exec: the ids of those that are left; after a signal by
# name, of those that it was sent to. A group is found by its number; those that
# left it (setsid, nohup) by the entry; those that cleared their environment by
# descent from either. The writers of a spool end by themselves when all others
# have, and are let to.
wait=$1 what=() group=() found=() outside=() spools=()
shift
declare -A by_entry by_group
for ((job = 0; $# > 2; job++)); do
  what[job]=$1 group[job]=$2 by_entry[$3]=$job
  by_entry[${3/=/=spool:}]=spool$job
  [ "$2" = 0 ] || by_group[$2]=$job
  shift 3
done
patterns=()
for entry in "${!by_entry[@]}"; do patterns+=(-e "$entry"); done
declare -A known told
look() {
  local entry pid job stat grew=1 text=
  local -A parent=() of=() in=() spares=() since=()
  found=() outside=() spools=()
  [ "$1" = family ] || text=$(grep -zaHoxF "${patterns[@]}" /proc/[0-9]*/environ)
  for entry in ${text//\/proc\// }; do
    job=${by_entry[${entry#*:}]}
    case $job in
      spool*) spares[${entry%%/*}]=1 spools[${job#spool}]=1 ;;
      ?*) of[${entry%%/*}]=$job ;;
    esac
  done
  for entry in /proc/[0-9]*; do
    mapfile -t stat <"$entry/stat" || continue
    set -- ${stat##*) }
    # A zombie has ended; only its parent can put it away.
    [ -n "$1" ] && [ "$1" != Z ] || continue
    pid=${entry#/proc/}
    parent[$pid]=$2 in[$pid]=$3 since[$pid]=${20} job=${by_group[$3]}
    # Whose parent has ended since is still known.
    [ -n "$job" ] || [ "${known[$pid]#* }" != "${20}" ] || job=${known[$pid]% *}
    [ -z "$job" ] || [ -n "${spares[$pid]}" ] || of[$pid]=$job
  done
  while [ "$grew" = 1 ]; do
    grew=0
    for pid in "${!parent[@]}"; do
      job=${of[${parent[$pid]}]}
      if [ -n "$job" ] && [ -z "${of[$pid]}${spares[$pid]}" ]; then
        of[$pid]=$job grew=1
      fi
    done
  done
  for pid in "${!of[@]}"; do
    [ -n "${parent[$pid]}" ] && [ "$pid" != 1 ] && [ "$pid" != $$ ] || continue
    job=${of[$pid]} known[$pid]="${of[$pid]} ${since[$pid]}"
    found[job]+=" $pid"
    [ "${in[$pid]}" = "${group[job]}" ] || outside[job]+=" $pid"
  done
} 2>/dev/null
# Each process gets the signal once; those of the group all at the same moment.
send() {
  if [ "${group[$2]}" = 0 ] || [ -n "$3" ]; then
    [ -n "${found[$2]}" ] || return
    # One after the other: no shell among them has time to remark on the first.
    [ "$1" != KILL ] || kill -s STOP ${found[$2]}
    kill -s "$1" ${found[$2]}
  else
    kill -s "$1" -- "-${group[$2]}"
    [ -z "${outside[$2]}" ] || kill -s "$1" ${outside[$2]}
  fi
} 2>/dev/null
remain() {
  for job in "${!what[@]}"; do
    [ "${what[job]}" != "$1" ] && [ "${what[job]}" != "${2-$1}" ] || [ -z "${found[job]}" ] || return 0
  done
  return 1
}
# The family is found at once, and most often it is all: by the time that the
# others have been looked for, it has gone.
case " ${what[*]} " in
  *" term "*)
    look family
    for job in "${!what[@]}"; do
      [ "${what[job]}" = term ] && [ "${group[job]}" != 0 ] || continue
      send TERM "$job"
      for pid in ${outside[job]}; do told[$pid]=1; done
    done
    ;;
esac
look
for job in "${!what[@]}"; do
  case ${what[job]} in
    term)
      for pid in ${outside[job]}; do
        [ -n "${told[$pid]}" ] || kill -s TERM "$pid" 2>/dev/null
      done
      ;;
    # These two would reach the writers of a spool, which heed no other.
    KILL | STOP) reached[job]=${found[job]} && send "${what[job]}" "$job" "${spools[job]}" ;;
    [A-Z]*) reached[job]=${found[job]} && send "${what[job]}" "$job" ;;
  esac
done
deadline=$((${EPOCHREALTIME/[^0-9]/} + wait * 1000))
pause=5
while remain term look && [ "${EPOCHREALTIME/[^0-9]/}" -lt "$deadline" ]; do
  # Each look goes through all processes: the longer it takes, the rarer.
  printf -v time '0.%03d' "$pause"
  read -rt "$time" <> <(:)
  [ "$pause" -ge 320 ] || pause=$((pause * 2))
  look
done
# A process dies when it is next scheduled, which on a busy machine is not at once.
for ((attempt = 0; attempt < 100; attempt++)); do
  remain kill || break
  for job in "${!what[@]}"; do
    [ "${what[job]}" = kill ] && [ -n "${found[job]}" ] || continue
    # One that multiplies is only met by all of its group at once.
    [ "$attempt" -lt 10 ] || spools[job]=
    send KILL "$job" "${spools[job]}"
  done
  [ "$attempt" = 0 ] || read -rt 0.02 <> <(:)
  look
done
for job in "${!what[@]}"; do
  case ${what[job]} in
    [A-Z]*) echo "${reached[job]}" ;;
    *) echo "${found[job]}" ;;
  esac
done
