# Waits inside the sandbox until a program listens on a TCP port. It connects to nobody, so no app
# takes the look for a visitor, and it forks nothing while it waits.
#
#   $1 port   $2 milliseconds to wait at most
#
# Writes `listening` or `closed`.
port=$1 limit=$2
printf -v hex '%04X' "$port"
# local address, remote address, state: 0A is LISTEN.
pattern=":$hex [0-9A-F]+:[0-9A-F]{4} 0A "
((end = ${EPOCHREALTIME//[!0-9]/} + limit * 1000))
exec {never}<> <(:)
while :; do
  size=0
  for table in /proc/net/tcp /proc/net/tcp6; do
    [[ -r $table ]] || continue
    mapfile -d '' -t lines <"$table"
    if [[ ${lines[0]-} =~ $pattern ]]; then
      echo listening
      exit
    fi
    ((size += ${#lines[0]}))
  done
  ((left = end - ${EPOCHREALTIME//[!0-9]/}))
  if ((left <= 0)); then
    echo closed
    exit
  fi
  # A look takes about a microsecond for ten bytes: where there are many sockets it rests longer.
  ((pause = 25000 + size, pause = pause < left ? pause : left))
  printf -v pause '%d.%06d' $((pause / 1000000)) $((pause % 1000000))
  read -rt "$pause" -u "$never"
done
