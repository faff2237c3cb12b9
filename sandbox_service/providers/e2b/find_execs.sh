# Prints what is kept of execs: five lines for each.
#
#   $1  an exec's id; or empty for all whose output is spooled
#
#   id, folder, user, "alive" or "ended", "same" or "restarted", bytes of ID.out
#   and of ID.err (-1: it is gone)
#   then the three lines of ID.exec, and that of ID.end
#
# The folders are their users' own, so whoever lists all of them has to be root;
# any other user finds what is kept for it.
started() {
  local stat=()
  [ ! -r "/proc/$1/stat" ] || mapfile -t stat <"/proc/$1/stat"
  set -- ${stat##*) }
  now=${20}
  # A zombie has ended.
  [ "$1" != Z ] || now=
}
{
  read -r boot </proc/sys/kernel/random/boot_id
  started 1
  boot=$boot.$now
  shopt -s nullglob
  if [ -n "$1" ]; then files=(/var/tmp/.sandbox-execs-*/"$1".exec); else files=(/var/tmp/.sandbox-execs-*/*.out); fi
  declare -A size owner
  for ((at = 0; at < ${#files[@]}; at += 1000)); do
    names=()
    for file in "${files[@]:at:1000}"; do
      kept=${file%.*}
      names+=("$kept.out" "$kept.err" "${kept%/*}")
    done
    while read -r bytes user uid name; do
      size[$name]=$bytes owner[$name]="$user $uid"
    done < <(stat -c '%s %U %u %n' -- "${names[@]}")
  done
  for file in "${files[@]}"; do
    kept=${file%.*} id=${file##*/} folder=${file%/*}
    id=${id%.*}
    # A name that is not ours, or a folder that only calls itself another user's.
    [[ $id =~ ^[A-Za-z0-9][A-Za-z0-9_.-]*$ ]] || continue
    [ "${owner[$folder]#* }" = "${folder##*-}" ] || continue
    about= end= lines=()
    IFS= read -rd '' -n 100000 about <"$kept.exec"
    [ ! -e "$kept.end" ] || IFS= read -r -n 200 end <"$kept.end"
    mapfile -t lines <<<"$about"
    set -- ${lines[0]}
    alive=ended same=restarted
    if [ "$3" = "$boot" ]; then
      same=same
      started "${1:-0}"
      [ -z "$now" ] || [ "$now" != "$2" ] || alive=alive
    fi
    echo "$id $folder ${owner[$folder]% *} $alive $same ${size[$kept.out]:--1} ${size[$kept.err]:--1}"
    printf '%s\n' "${lines[0]}" "${lines[1]}" "${lines[2]}" "$end"
  done
} 2>/dev/null
