# Describes trees of files: what is there, with modes, hashes and where links point.
#
# Wants LC_ALL=C, bash 5, and in `prune` the expression of `find` that is true for what is excluded.

reserved=.sandbox-sync
prune=(-false)

# Describes the tree in the current folder: list_tree OUT [INDEX CUTOFF]
#   OUT.rec     the records of the digest, sorted
#   OUT.all     stat key, hash, mode and path of every file
#   OUT.rest    records of folders and links, unsorted; OUT.others: paths of what has no record
#   OUT.dirs, OUT.nondirs, OUT.kept     paths, unsorted; kept ones are excluded
# INDEX has hashes by stat key: device, inode, size, mtime, ctime. It is not believed for files
# whose ctime is past CUTOFF: they may have been written again in the clock's same tick.
# Leaves in `listed_cutoff` the CUTOFF of an index that is made of OUT.all.
list_tree() {
  local out=$1 index=${2-} cutoff=${3-} todo=$1.files fresh=() err line
  local key='%D.%i.%s.%T@.%C@ f%04m %p\0'
  just_before listed_cutoff
  [[ -z $index ]] || fresh=(-o -type f -newerct "@$cutoff" -fprintf "$out.todo" "$key")
  err=$(find . -mindepth 1 -regextype posix-extended -name "$reserved" -prune \
    -o "${prune[@]}" -prune -fprintf "$out.kept" '%p\0' \
    -o -type d -fprintf "$out.rest" 'd%04m %p\0' -fprintf "$out.dirs" '%p\0' \
    -o -fprintf "$out.nondirs" '%p\0' \( -type l -fprintf "$out.rest" 'l %p//%l\0' \
    "${fresh[@]}" -o -type f -fprintf "$out.files" "$key" \
    -o -fprintf "$out.others" '%p\0' \) 2>&1) || {
    # Programs go on while this runs: what vanishes or is locked is not part of the tree.
    while IFS= read -r line; do
      [[ $line == *': No such file or directory' || $line == *': Permission denied' ]] || {
        printf '%s\n' "$err" >&2
        return 1
      }
    done <<<"$err"
  }
  : >"$out.all"
  if [[ -n $index ]]; then
    sort -z -o "$out.files" "$out.files"
    join -z -t ' ' "$index" "$out.files" >"$out.all"
    join -z -t ' ' -v 2 "$index" "$out.files" >>"$out.todo"
    todo=$out.todo
  fi
  hash_files "$todo" "$out.all"
  cut -z -d ' ' -f 2- -- "$out.all" | sort -z - "$out.rest" >"$out.rec"
}

# Puts into a variable a time so far back that the clock has ticked since: just_before NAME
just_before() {
  local now=$((${EPOCHREALTIME/./} - 20000))
  printf -v "$1" '%s.%s' "${now:0:-6}" "${now: -6}"
}

# Adds a hash to every line of a list, and the lines to the end of OUT: hash_files LIST OUT
# What vanished meanwhile is left out; what cannot be read gets a hash of zeros.
hash_files() {
  local list=$1 out=$2 err='' half failed=0 lines
  mapfile -d '' -t lines <"$list"
  if ((${#lines[@]} == 0)); then
    return
  elif ((${#lines[@]} < 48)); then
    err=$(sha256sum -z -- "${lines[@]#* * }" 2>&1 >"$list.sums") || failed=1
  else
    half=$(((${#lines[@]} + 1) / 2))
    err=$({
      printf '%s\0' "${lines[@]:0:half}" | cut -z -d ' ' -f 3- |
        xargs -0 sha256sum -z -- >"$list.sums" &
      printf '%s\0' "${lines[@]:half}" | cut -z -d ' ' -f 3- |
        xargs -0 sha256sum -z -- >"$list.sums2" || failed=1
      wait $! || failed=1
      exit $failed
    } 2>&1) || failed=1
    cat -- "$list.sums2" >>"$list.sums"
  fi
  if ((failed)) && [[ $err == *'write error'* || $err == *'No space left'* || $err == *quota* ]]; then
    printf '%s\n' "$err" >&2
    return 1
  elif ((failed == 0)) && ((${#lines[@]} >= 48)); then
    paste -z -d ' ' <(cut -z -d ' ' -f 1 -- "$list") <(cut -z -b 1-64 -- "$list.sums") \
      <(cut -z -d ' ' -f 2- -- "$list") >>"$out"
    return
  fi
  local line path sums sum zeros at=0
  printf -v zeros '%064d' 0
  mapfile -d '' -t sums <"$list.sums"
  for line in "${lines[@]}"; do
    path=${line#* * }
    if [[ ${sums[at]-} == *"  $path" && ${#sums[at]} -eq $((66 + ${#path})) ]]; then
      sum=${sums[at++]:0:64}
    elif [[ -f $path ]]; then
      sum=$zeros
    else
      continue
    fi
    printf '%s %s %s\0' "${line%% *}" "$sum" "${line#* }"
  done >>"$out"
}

# Puts the digest of records into a variable: digest_of NAME RECORDS
digest_of() {
  local sum
  sum=$(sha256sum <"$2")
  printf -v "$1" %s "${sum%% *}"
}
