# Names the files that match and have changed since a moment.
#
#   $1  the folder that expressions and starting points are relative to; empty:
#       the present one
#   $2  the moment, in seconds since 1970
#   $3  how many files to tell of at most
#   $4  how many bytes to read of them at most
#   $5  for how many seconds to read at most
#   $6  a POSIX extended expression over "./PATH", as %b of printf takes it
#   $7  the name of a folder that is this service's own, and not looked into
#   and from here on the folders to begin in, "." or "./PATH" each
#
# Prints fields that end with NUL: the folder; how many there are and how many
# bytes they have; three for each that is told of (its path, "size mode seconds",
# its first bytes); an empty one. Then comes what sha256sum says, line by line.
# Nobody can set a file's change time, so what is new is what has a later one. A
# starting point that is behind a link is passed over.
#
# Fails with 3 when the folder is not there, with 4 where nothing can be looked for.
export LC_ALL=C
exec 2>/dev/null
cd -P -- "${1:-.}" || exit 3
root=${PWD%/} since=$2 most=$3 room=$4 seconds=$5 own=$7
printf -v expression %b "$6"
shift 7
prune=(-name "$own")
[ -n "$root" ] || prune+=(-o -path ./proc -o -path ./sys -o -path ./dev)
starts=()
for start; do
  cd -P -- "$root/$start" || continue
  [ "$start" != . ] && [ "$PWD" != "$root${start#.}" ] || starts+=("$start")
done
cd -P -- "$root/" || exit 3
look() {
  find "$@" -regextype posix-extended \( "${prune[@]}" \) -prune -o \
    -type f -newerct "@$since" -regex "$expression" -printf "$format"
}
count=0 bytes=0 told=() hashed=()
format='%p\1%s %m %T@\0'
# Bash reads a pipe byte by byte, so of many files it reads no more than are told.
while IFS= read -rd '' line; do
  count=$((count + 1))
  [ "$count" -le "$most" ] || break
  about=${line##*$'\1'} path=${line%$'\1'*} first=
  size=${about%% *}
  bytes=$((bytes + size))
  if [ "$size" -le "$room" ] && [ -r "$path" ]; then
    room=$((room - size)) hashed+=("$path")
    IFS= read -rd '' -n 16 first <"$path"
  fi
  told+=("$path" "$about" "$first")
done < <([ "${#starts[@]}" = 0 ] || look "${starts[@]}" | sort -z | head -zn "$((most + 1))")
if [ "$count" -gt "$most" ]; then
  format='%s '
  sizes=($(look "${starts[@]}"))
  count=${#sizes[@]}
  bytes=$(IFS=+; echo $((${sizes[*]})))
elif [ "$count" = 0 ]; then
  # The silence of programs that are not there is not that of one that left nothing.
  there=$(find . -prune -regextype posix-extended -newerct @0 -printf x | sort -z | head -zn 1)
  [ "$there" = x ] || exit 4
fi
printf '%s\0' "$root/" "$count $bytes" "${told[@]}" ""
# A file that somebody goes on writing may never come to its end.
[ "${#hashed[@]}" = 0 ] || timeout -s KILL "$seconds" sha256sum -- "${hashed[@]}"
exit 0
