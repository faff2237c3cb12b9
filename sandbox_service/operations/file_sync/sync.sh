# Applies one sync inside the sandbox: unpack, verify, compare, move in, delete.
# Comes after tree.sh, root.sh, receipt.sh, compare.sh and report.sh.
#
# Needs bash 5 and Debian's essential packages, no more. No program is started
# per file: lists go through perl, sort, comm and xargs, all NUL-terminated.
# Every path begins with ./ so that none looks like an option.
#
#   $1 archive, relative to the home   $2 root, absolute or relative to it
#   $3 patch or mirror                 $4 changed or full
#   $5 the digest that the root must have, or nothing
#   $6 a name for this sync that no other has    $7 size of the archive
#   $8 the longest of its paths    $9 change, or keep: fail rather than change anything
#   $10 the name that its receipt is kept by, or nothing   $11 a digest of what it asks for
#   $12 a note that is kept with the receipt   $13 the preview's port
#   $14 how many arguments from $15 on are the expression of all that is excluded; the others are
#   that of folders. Both as `printf %b` reads them.
#
# Writes NUL-terminated records to stdout: the note; `=changes` and what was written
# (`./path` was added, TAB `./path` modified); `=deleted` and the paths that are
# gone; `=phases` and their names and microseconds; `=end`, the root, its digest,
# the user, whether the port is open, closed or unknown, and how many entries the digest does not
# cover. For a sync whose receipt is kept `=stored`, then the same, then what else was kept with it.
# Or `=failed`, a word, a path or digest, and the kind of what is at the path.
archive=$home/$1 mode=$3 verify=$4 expected=$5 id=$6 size=$7 longest=$8 may=$9
receipt=${10} asked=${11} note=${12} preview=${13}
# How many files are so few that a loop over them takes less than programs that take them all.
few=256
# Below how many bytes an archive is unpacked so fast that the root may be looked at meanwhile, and
# may stay until the sync ends.
small=33554432
stage= stages= inode= listed= surveying= rewriting=
leftovers=()

# Removes what was staged. In the home that happens after the answer, in a process group of its own,
# for a large tree takes a while. Elsewhere it happens at once, so that no next sync meets a folder
# that is about to vanish.
cleanup() {
  cd /
  # What writes to the staging would keep it from being removed.
  wait ${surveying:+"$surveying"} ${rewriting:+"$rewriting"} || :
  if [[ -n $stages && $stages != "$state"/* ]]; then
    tidy </dev/null >/dev/null 2>&1 || :
    rmdir --ignore-fail-on-non-empty -- "$stages" "${stages%/*}" 2>/dev/null || :
  else
    # With job control a job has a process group.
    set -m
    { tidy || :; } </dev/null >/dev/null 2>&1 9>&- &
  fi
}
# Keeps the index for the next sync of the root, and removes what is not needed. Called where a
# failure of one step, say for want of room, does not keep it from the others.
tidy() {
  [[ -z $listed ]] || { mv -fT -- "$listed" "$state/index.$inode.$$" &&
    mv -fT -- "$state/index.$inode.$$" "$state/index.$inode"; }
  prune_receipts "$receipts"
  rm -rf -- "$archive" "${leftovers[@]}" ${stage:+"$stage"}
  find "$state" -maxdepth 1 \( -name "*.tar" -mmin +30 -o -name "index.*" -mmin +20000 \) -delete
}
trap cleanup EXIT
trap 'exit 143' TERM INT HUP

# Finds a folder to stage in from where a rename into the root works. It works within one mount, so
# the home serves where it can: nothing of the staging is then seen by programs that watch the root.
locate() {
  local above=${near%/*} mounts
  mapfile -d '' -t mounts < <(stat --printf '%m\0%d.%i\0' -- "$near" "$home" "${above:-/}")
  inode=${mounts[1]}
  if [[ -w $home && ${mounts[0]} == "${mounts[2]}" ]]; then
    stages=$state/stage
  elif [[ -n $exists && -w ${above:-/} && ${mounts[0]} == "${mounts[4]}" ]]; then
    stages=$above/$reserved/stage
  elif [[ -w $near ]]; then
    stages=${near%/}/$reserved/stage
  else
    fail denied "$near"
  fi
}

unpack() {
  local records
  tar -xpPf "$archive" -C "$stage" -b 512 --no-same-owner --warning=no-timestamp || fail unpack
  [[ -e $stage/c/complete ]] || fail unpack
  ((size < small)) || rm -f -- "$archive"
  phase unpack
  cd "$stage/t"
  mapfile -d '' -t records <"$c/want"
  if ((${#records[@]} <= few)); then
    verify_few
  else
    list_tree "$c/staged"
    comm -z -23 "$c/want" "$c/staged.rec" >"$c/wrong"
    refuse_any "$c/wrong" checksum
  fi
}

# Verifies what was unpacked, where listing it would take longer than hashing it.
verify_few() {
  local record at paths=() hashed=() sums=()
  : >"$c/staged.all"
  for record in "${records[@]}"; do
    case $record in
      d????\ *) [[ -d ${record:6} ]] || fail checksum "$record" ;;
      l\ *)
        record=${record:2}
        [[ -L ${record%%//*} ]] || fail checksum "$record"
        ;;
      *) paths+=("${record:71}") hashed+=("${record:0:64}") ;;
    esac
  done
  ((${#paths[@]})) || return 0
  mapfile -d '' -t sums < <(sha256sum -z -- "${paths[@]}")
  for at in "${!paths[@]}"; do
    [[ ${sums[at]-} == "${hashed[at]}  ${paths[at]}" ]] || fail checksum "${paths[at]}"
  done
}

# Moves the staged tree into a root that exists.
publish() {
  local path parent at=0 tops=() record bits='' chmods=()
  : >"$c/dirs.changed"
  while IFS= read -r -d '' path; do
    mv -T -- "$path" "$stage/x/$((at++))"
  done <"$c/obstacles"

  # A folder that is new comes with all that is in it, by one rename.
  for path in "${made[@]}"; do
    parent=${path%/*}
    if [[ $parent == . ]]; then
      tops+=("$path")
    elif [[ -z ${new[$parent]-} ]]; then
      mv -T -- "$stage/t/$path" "$path"
    fi
  done
  ((${#made[@]} == 0)) || printf '%s\0' "${made[@]}" |
    comm -z -12 - "$c/named-dirs" >"$c/dirs.changed"
  if ((${#tops[@]})); then
    (cd "$stage/t" && printf '%s\0' "${tops[@]}" | xargs -0 mv -t "$root" --)
  fi

  replace_files

  # The records are sorted, so folders of one mode follow one another.
  for record in "${folders[@]}"; do
    path=${record#* }
    [[ -z ${new[$path]-} ]] || continue
    [[ $bits == "${record:1:4}" ]] || on chmods chmod "$bits" --
    [[ $bits == "${record:1:4}" ]] || chmods=()
    bits=${record:1:4}
    chmods+=("$path")
    printf '%s\0' "$path" >>"$c/dirs.changed"
  done
  on chmods chmod "$bits" --
}

# Puts what differs into folders that were there. Of a file `cp -lf` makes a link by a temporary
# name and renames it, so every reader sees the old file or the new one. An old link it would remove
# first, so links are moved; so are files where there are no hard links.
replace_files() {
  local path there=()
  # What came with a new folder is not staged any more.
  for path in "${files[@]}"; do
    [[ ! -e $stage/t/$path ]] || there+=("$path")
  done
  if ! on there env -C "$stage/t" cp -lfP --no-preserve=all --parents -t "$root" -- 2>/dev/null; then
    for path in "${there[@]}"; do
      [[ "$stage/t/$path" -ef $path && ! -L $path ]] || mv -fT -- "$stage/t/$path" "$path"
    done
  fi
  for path in "${links[@]}"; do
    [[ ! -L $stage/t/$path ]] || mv -fT -- "$stage/t/$path" "$path"
  done
}

# Runs a command on all paths of an array: on ARRAY COMMAND...
on() {
  local -n paths=$1
  shift
  if ((${#paths[@]} > 128)); then
    printf '%s\0' "${paths[@]}" | xargs -0 "$@"
  elif ((${#paths[@]})); then
    "$@" "${paths[@]}"
  fi
}

delete() {
  [[ -s $c/delete ]] || return 0
  comm -z -12 "$c/delete" "$c/now.nondirs" | xargs -0 -r rm -f --
  comm -z -12 "$c/delete" "$c/now.dirs" | sort -zr |
    xargs -0 -r rmdir --ignore-fail-on-non-empty --
}

# Sorts out what is to be written: leaves the paths of `files` and `links`, and the records of
# `folders`.
sort_out() {
  local records record
  files=() links=() folders=()
  mapfile -d '' -t records <"$c/write.rec"
  for record in "${records[@]}"; do
    case $record in
      d[0-7][0-7][0-7][0-7]\ *) folders+=("$record") ;;
      l\ *) record=${record#l } links+=("${record%%//*}") ;;
      *) files+=("${record#* f???? }") ;;
    esac
  done
}

apply_fresh() {
  [[ $may == change || ! -s $c/paths ]] || fail would_change
  refuse_any "$c/unchanged" unchanged
  refuse_any "$c/unchanged-but-mode" unchanged
  mkdir -p -- "${root%/*}/"
  mv -T -- "$stage/t" "$root"
  cd "$root"
  # Until now nobody but this script could write to it.
  just_before trusted
  : >"$c/now.nondirs" >"$c/now.dirs" >"$c/now.all" >"$c/delete"
  cp -- "$c/nondirs" "$c/changes"
  cp -- "$c/named-dirs" "$c/dirs.changed"
  inode=$(stat -c '%d.%i' .)
}

# Looks at a root that exists; a job of its own.
look() {
  local digest=
  cd "$root"
  survey "$c/now" "$inode"
  [[ -z $expected ]] || digest_of digest "$c/now.rec"
  printf '%s\0' "$listed_cutoff" "$digest" >"$c/looked"
}

apply_over() {
  local looked
  [[ -n $surveying ]] || { look & surveying=$!; }
  wait "$surveying"
  surveying=
  mapfile -d '' -t looked <"$c/looked"
  trusted=${looked[0]}
  cd "$root"
  [[ -z $expected || ${looked[1]} == "$expected" ]] || fail digest "${looked[1]}"
  phase compare
  verify_unchanged
  plan
  if [[ ! -s $c/write.rec && ! -s $c/delete ]]; then
    after=now
    return
  fi
  [[ $may == change ]] || fail would_change
  sort_out
  if ((${#new[@]} == 0 && ${#files[@]} + ${#links[@]} <= few)) &&
    [[ ! -s $c/obstacles && ! -s $c/delete && ! -s $c/now.others ]]; then
    after=with
    relist_little &
    rewriting=$!
  fi
  publish
  delete
  [[ $after == then ]] || return 0
  if ((${#files[@]} + ${#links[@]})); then
    printf '%s\0' "${files[@]}" "${links[@]}" | sort -z >"$c/changes"
  else
    : >"$c/changes"
  fi
}

after=then
declare -A new=()
made=()
take_turn
answer_stored
phase wait
find_root "$2"
locate
# Whoever holds the lock is alone: what else is staged is of syncs that died.
shopt -s nullglob
leftovers=("$stages"/*)
stage=$stages/$id c=$stages/$id/c
# The kernel takes paths of 4,095 bytes, with that of the folder before them.
((${#stage} + 5 + ${#longest} <= 4095 && ${#root} + 3 + ${#longest} <= 4095)) ||
  fail too_long "$longest"
mkdir -p -- "$stage/x" "$c"
exclude_escaped "${@:14}"
if [[ -n $expected && -z $exists ]]; then
  none=$(sha256sum </dev/null)
  [[ $expected == "${none%% *}" ]] || fail digest "${none%% *}"
fi
if [[ -n $exists ]] && ((size < small)); then
  look &
  surveying=$!
fi
unpack
phase verify
: >"$c/obstacles" >"$c/obstacles.dirs" >"$c/deleted.candidates"
if [[ -n $exists ]]; then apply_over; else apply_fresh; fi
phase replace
if [[ -z $receipt ]]; then
  report
else
  report >"$c/report"
  mapfile -d '' -t records <"$c/report"
  keep_receipt "${records[@]}"
  printf '%s\0' "${records[@]}"
fi
