# Prints a spooled stream from an offset on, until it is whole.
#
#   $1  the file
#   $2  how many bytes to leave out
#   $3  the process that writes it
#   $4  "alive" or "ended": the program. A child of an ended one may hold the
#       stream open for ever; what it writes belongs to nobody.
#
# Fails when the file is gone, or is shorter than that.
spooler() {
  { read -r comm <"/proc/$1/comm"; } 2>/dev/null && [ "$comm" = tee ]
}
# The spool is written a moment after the stream; a stream that nobody reads yet
# may hold it up for longer. On a full disk it is never written.
tries=1500
[ "$4" = alive ] || tries=25
for ((; tries > 0; tries--)); do
  size=$(stat -c %s -- "$1" 2>/dev/null) || exit 3
  spooler "$3" || break
  [ "$4" = ended ] || [ "$size" -lt "$2" ] || break
  read -rt 0.02 <> <(:)
done
size=$(stat -c %s -- "$1" 2>/dev/null) || exit 3
[ "$size" -ge "$2" ] || exit 4
if [ "$4" = alive ] && spooler "$3"; then
  exec tail -c "+$(($2 + 1))" -s 0.05 --pid="$3" -f -- "$1"
fi
exec tail -c "+$(($2 + 1))" -- "$1"
