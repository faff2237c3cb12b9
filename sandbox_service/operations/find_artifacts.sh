# Names the files that match and have changed since a moment.
#
#   $1  the folder that expressions and starting points are relative to; empty:
#       the present one
#   $2  the moment, in seconds since 1970
#   $3  how many files to tell of at most
#   $4  how many bytes to read of them at most
#   $5  a POSIX extended expression over "./PATH", as %b of printf takes it
#   $6  the name of a folder that is this service's own, and not looked into
#   and from here on the folders to begin in, "." or "./PATH" each
#
# Prints fields that end with NUL: the folder; how many there are and how many
# bytes they have; three for each that is told of (its path, "size mode seconds",
# its first bytes); an empty one; what sha256sum says. Nobody can set a file's
# change time, so what is new is what has a later one. A starting point that is
# behind a link is passed over.
#
# Fails with 3 when the folder is not there.
export LC_ALL=C
exec 2>/dev/null
cd -P -- "${1:-.}" || exit 3
root=${PWD%/} since=$2 most=$3 room=$4 own=$6
printf -v expression %b "$5"
shift 6
prune=(-name "$own")
[ -n "$root" ] || prune+=(-o -path ./proc -o -path ./sys -o -path ./dev)
starts=()
for start; do
  cd -P -- "$root/$start" || continue
  [ "$start" != . ] && [ "$PWD" != "$root${start#.}" ] || starts+=("$start")
done
cd -P -- "$root/" || exit 3
count=0 bytes=0 told=() hashed=()
while IFS= read -rd '' line; do
  about=${line##*$'\1'} path=${line%$'\1'*} first=
  size=${about%% *}
  count=$((count + 1)) bytes=$((bytes + size))
  [ "$count" -le "$most" ] || continue
  if [ "$size" -le "$room" ] && [ -r "$path" ]; then
    room=$((room - size)) hashed+=("$path")
    IFS= read -rd '' -n 16 first <"$path"
  fi
  told+=("$path" "$about" "$first")
done < <(
  [ "${#starts[@]}" = 0 ] || find "${starts[@]}" -regextype posix-extended \
    \( "${prune[@]}" \) -prune -o \
    -type f -newerct "@$since" -regex "$expression" -printf '%p\1%s %m %T@\0' | sort -z
)
printf '%s\0' "$root/" "$count $bytes" "${told[@]}" ""
[ "${#hashed[@]}" = 0 ] || sha256sum -z -- "${hashed[@]}"
exit 0
