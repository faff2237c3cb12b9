# Appends to what an exec reads, as far as it has not been appended before.
#
#   $1  the exec's id
#   $2  how many bytes come before these
#   $3  how many these are
#   $4  "end" when nothing comes after them, or empty
#   $5  "text" or "base64": how these are given
#   $6  these; base64 in several pieces, for an argument may not be long
#
# Prints a word, and how many bytes there are in all:
#   ok      all of these are among them
#   hole    bytes before these are missing
#   later   the program does not read: nothing was appended, ask again
#   part    not all of them could be appended: is the disk full?
#   closed  nobody reads them any more
#
# The length of the file is the count: a script that is killed half way has
# counted exactly what it has appended.
# So that a letter is a byte.
LC_ALL=C
kept=/var/tmp/.sandbox-execs-$EUID/$1 first=$2 upto=$(($2 + $3)) last=$4 how=$5
shift 5
size=0 unread_max=1048576 pause=5
tell() {
  echo "$1 $size"
  exit
}
# How far the feeder has read: -1 when there is none any more.
look() {
  fed=-1 ended=
  [ ! "/proc/$feeder/fd/3" -ef "$kept.in" ] || read -r _ fed <"/proc/$feeder/fdinfo/3"
  { read -r && read -r ended; } <"$kept.feed"
}
# One byte that it has not read yet is enough to wake it; so they never fill their pipe.
wake() {
  { read -rt 0 -u 4 || printf . >&4; } 4<>"/proc/$feeder/fd/9"
}
{
  [ -e "$kept.in" ] || tell closed
  exec 3>>"$kept.in"
  read -r feeder <"$kept.feed"
  deadline=$((${EPOCHREALTIME/[^0-9]/} + 10000000))
  while :; do
    flock -w 10 3 || tell later
    size=$(stat -c %s -- "$kept.in")
    look
    [ "$size" -ge "$first" ] || tell hole
    [ "$size" -lt "$upto" ] || break
    [ -z "$ended" ] && [ "$fed" -ge 0 ] || tell closed
    [ $((size - fed)) -ge "$unread_max" ] || break
    # Nobody waits for the program because this one does.
    flock -u 3
    wake
    [ "${EPOCHREALTIME/[^0-9]/}" -lt "$deadline" ] || tell later
    printf -v time '0.%03d' "$pause"
    read -rt "$time" <> <(:)
    [ "$pause" -ge 320 ] || pause=$((pause * 2))
  done
  if [ "$size" -lt "$upto" ]; then
    # What has been read needs no room any more.
    [ $((size >> 20)) = $((upto >> 20)) ] || fallocate -p -o 0 -l "$fed" "$kept.in"
    skip=$((size - first))
    if [ "$how" = text ]; then
      printf %s "${1:skip}" >&3
    elif [ "$skip" = 0 ]; then
      printf %s "$@" | base64 -d >&3
    else
      printf %s "$@" | base64 -d | tail -c "+$((skip + 1))" >&3
    fi
    # Whoever appends is at the end then.
    read -r _ now </proc/self/fdinfo/3
    [ "$now" -lt "$size" ] || size=$now
    look
  fi
  if [ "$last" = end ] && [ "$size" = "$upto" ] && [ -z "$ended" ]; then
    [ "$fed" -ge 0 ] || tell closed
    echo end >>"$kept.feed" && ended=end || tell part
  fi
  # Whoever appended before may have been killed before it woke the feeder.
  [ "$fed" = "$size" ] && [ -z "$ended" ] || wake
  [ "$size" -ge "$upto" ] || tell part
  tell ok
} 2>/dev/null
