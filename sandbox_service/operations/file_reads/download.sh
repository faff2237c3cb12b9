# Writes a tree to stdout. Comes after locate.sh. Changes nothing, and needs no room on the disk.
#
#   $1 root    $2 how many of the rest are pieces of the regular expression of what is excluded;
#   the others are pieces of that of excluded folders. Both as `printf %b` reads them
#
# Writes `=root` and its real path. Then batches: `=batch`, how many entries were found, the hash
# and path of each file among them, NUL-terminated, an empty field, and a tar archive of the files,
# links and folders; of each file that is just being written instead `=file`, its path, size, mode,
# mtime and hash, and the content; `=gone` and how many entries had vanished meanwhile. Last `=end`
# and how many were left out: sockets, pipes, devices, and paths that are too long. Or `=failed`, as
# locate.sh does, also later. Each file is hashed before it is read to be sent, so whoever compares
# knows what changed on the way.

# The most of one batch: entries, bytes of their paths, bytes of content before the last file's.
most_entries=256 most_path_bytes=200000 most_bytes=33554432

# Writes what `find` sees: a letter for the type, the size and the path. Then `=` and how it went.
entries() {
  local err code=0
  err=$(find . -mindepth 1 -regextype posix-extended -name "$reserved" -prune \
    -o "${prune[@]}" -prune -o -printf '%y%s %p\0' 2>&1 >&4) || code=$?
  printf '=%s\0%s\0' "$code" "$err"
} 4>&1

# Fails unless all that went wrong with `find` is that something vanished.
check() { # exit code, its messages
  local line
  (($1 < 2)) || fail broken
  [[ -n $2 ]] || return 0
  while IFS= read -r line; do
    [[ $line == *': No such file or directory' ]] || fail broken
  done <<<"$2"
}

# Writes the batch that has been gathered.
flush() {
  local path code=0 gone=0 since hot=() unreadable=()
  ((${#batch[@]})) || return 0
  printf '=batch\0%s\0' "${#batch[@]}"
  just_before since
  if ((${#files[@]})); then
    sha256sum -z -- "${files[@]}" 2>/dev/null || for path in "${files[@]}"; do
      [[ ! -f $path || -L $path || -r $path ]] || unreadable+=("$path")
    done
    mapfile -d '' -t hot < <(
      find "${files[@]}" -maxdepth 0 -type f -newerct "@$since" -readable -print0 2>/dev/null
    )
  fi
  printf '\0'
  ((${#hot[@]} == 0)) || leave_out
  tar -cf - -b 128 --format=posix --pax-option=delete=atime,delete=ctime --no-recursion \
    --no-unquote --hard-dereference --numeric-owner --owner=0 --group=0 -T /dev/null \
    -- "${batch[@]}" 2>/dev/null || code=$?
  # 1 and 2 are told of files that changed or vanished; whoever compares the hashes sees that too.
  ((code <= 2)) || exit 4
  ((${#unreadable[@]} == 0)) || fail denied "$root/${unreadable[0]#./}"
  for path in "${hot[@]}"; do send "$path" || gone=$((gone + 1)); done
  if ((code == 2)); then
    for path in "${batch[@]}"; do
      [[ -e $path || -L $path ]] || gone=$((gone + 1))
    done
  fi
  printf '=gone\0%s\0' "$gone"
  batch=() files=() path_bytes=0 bytes=0
}

# Takes the files that are just being written out of the batch. Tar would send of them what they
# have when it comes to them, which is not what was hashed.
leave_out() {
  local path others=()
  local -A out=()
  for path in "${hot[@]}"; do out[$path]=1; done
  for path in "${batch[@]}"; do
    [[ -n ${out[$path]-} ]] || others+=("$path")
  done
  batch=("${others[@]}")
}

# Writes a file as it is when it is opened: one that only grows has the same bytes again when they
# are sent. What one that shrinks lacks is filled up with zeros.
send() { # path; fails when it is not there any more
  local told digest
  { exec 3<"$1"; } 2>/dev/null || return 1
  mapfile -d '' -t told < <(stat -L --printf '%s\0%a\0%.9Y\0' /proc/self/fd/3)
  digest=$(head -c "${told[0]}" <&3 | sha256sum)
  printf '=file\0%s\0%s\0%s\0%s\0%s\0' "$1" "${told[@]}" "${digest%% *}"
  { head -c "${told[0]}" /proc/self/fd/3 && head -c "${told[0]}" /dev/zero; } |
    head -c "${told[0]}" || :
  exec 3<&-
}

unset TAR_OPTIONS
enter "$1"
find_root "$real"
exclude_escaped "${@:2}"
printf '=root\0%s\0' "$root"
batch=() files=() path_bytes=0 bytes=0 skipped=0 ended=
while IFS= read -r -d '' entry; do
  path=${entry#* } size=${entry%% *}
  # The kernel takes no path that is longer, nor does the contract.
  ((${#path} < 4096)) || entry=?
  case $entry in
    f*) files+=("$path") bytes=$((bytes + ${size:1})) ;;
    d*) [[ -r $path && -x $path || ! -d $path ]] || { flush; fail denied "$root/${path#./}"; } ;;
    l*) ;;
    =*)
      IFS= read -r -d '' said || :
      flush
      check "${entry#=}" "$said"
      ended=1
      break
      ;;
    *)
      skipped=$((skipped + 1))
      continue
      ;;
  esac
  batch+=("$path") path_bytes=$((path_bytes + ${#path}))
  ((${#batch[@]} < most_entries && path_bytes < most_path_bytes && bytes < most_bytes)) || flush
done < <(entries)
[[ -n $ended ]] || fail broken
printf '=end\0%s\0' "$skipped"
