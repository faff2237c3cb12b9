# Deletes what was spooled of execs that have ended, the oldest first, until no
# more is left than may be. That they were, and how they ended, stays.
#
#   $1  how many may be left
#   $2  how many bytes of them
cd "/var/tmp/.sandbox-execs-$EUID" || exit 0
count=0 total=0
for name in $(ls -1t -- *.out); do
  id=${name%.out} stat=()
  read -r pid start rest <"$id.exec" || continue
  [ ! -r "/proc/$pid/stat" ] || mapfile -t stat <"/proc/$pid/stat"
  stat=(${stat##*) })
  bytes=0
  for size in $(stat -c %s -- "$id.out" "$id.err"); do bytes=$((bytes + size)); done
  count=$((count + 1)) total=$((total + bytes))
  [ "$count" -gt "$1" ] || [ "$total" -gt "$2" ] || continue
  [ "${stat[19]}" != "$start" ] || continue
  # The list of spools goes by the first of them.
  rm -f -- "$id.err" "$id.in" "$id.out"
  total=$((total - bytes))
done 2>/dev/null
