# Applies one sync inside the sandbox: unpack, verify, compare, move in, delete.
# What is defined in tree.sh comes before it.
#
# Needs bash 5 and Debian's essential packages, no more. No program is started
# per file: lists go through sort, comm, join and xargs, all NUL-terminated.
# Every path begins with ./ so that none looks like an option.
#
#   $1 archive, relative to the home   $2 root, absolute or relative to it
#   $3 patch or mirror                 $4 changed or full
#   $5 the digest that the root must have, or nothing
#   $6 a name for this sync that no other has    $7 size of the archive
#   $8 the longest of its paths    $9 change, or keep: fail rather than change anything
#
# Writes NUL-terminated records to stdout: `=changes` and what was written
# (`./path` was added, TAB `./path` modified), `=deleted` and the paths that
# are gone, `=end`, the root, its digest and the user. Or `=failed`, a word, a
# path or digest, and the kind of what is at the path.
set -euo pipefail
shopt -s inherit_errexit
export LC_ALL=C PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:${PATH-}"
umask 022

home=${HOME:-~}
archive=$home/$1 root=$2 mode=$3 verify=$4 expected=$5 id=$6 size=$7 longest=$8 may=$9
state=$home/$reserved
stage= stages= inode= listed= listed_cutoff=
leftovers=()

fail() { # word detail
  local kind=other
  if [[ -L ${2-} ]]; then kind=link; elif [[ -d ${2-} ]]; then kind=directory; fi
  [[ $kind != other || ! -f ${2-} ]] || kind=file
  printf '=failed\0%s\0%s\0%s\0' "$1" "${2-}" "$kind"
  exit 3
}

# Removes what was staged. In the home that happens after the answer, in a process group of its own,
# for a large tree takes a while. Elsewhere it happens at once, so that no next sync meets a folder
# that is about to vanish.
cleanup() {
  cd /
  set -- bash -c "$tidy" bash "$state" "$listed_cutoff" "$listed" "$state/index.$inode" \
    "$archive" "${leftovers[@]}" ${stage:+"$stage"}
  if [[ -n $stages && $stages != "$state"/* ]]; then
    "$@" </dev/null >/dev/null 2>&1 || :
    rmdir --ignore-fail-on-non-empty -- "$stages" "${stages%/*}" 2>/dev/null || :
  else
    setsid -f "$@" </dev/null >/dev/null 2>&1 9>&- || :
  fi
}
# Keeps the hashes by stat key, for the next sync of the root, and removes what is not needed.
tidy='
if [[ -n $3 ]]; then
  { printf "!%s\0" "$2"; cut -z -d " " -f 1,2 -- "$3" | sort -zu; } >"$4.$$" && mv -f -- "$4.$$" "$4"
fi
rm -rf -- "${@:5}"
find "$1" -maxdepth 1 -name "*.tar" -mmin +120 -delete
exec find "$1" -maxdepth 1 -name "index.*" -mmin +20000 -delete'
trap cleanup EXIT
trap 'exit 143' TERM INT HUP

# Finds the root's real path, and a folder to stage in from where a rename into the root works.
# A rename works within one mount, so the home serves where it can: nothing of the staging is then
# seen by programs that watch the root.
locate() {
  case $root in
    '' | .) root=$home ;;
    /*) ;;
    *) root=$home/$root ;;
  esac
  exists=
  if [[ -d $root ]]; then
    exists=1
    cd -P -- "$root" || fail denied "$root"
    root=$PWD
    near=$root
  else
    [[ ! -e $root && ! -L $root ]] || fail not_a_folder "$root"
    near=${root%/*}
    while [[ -n $near && ! -d $near ]]; do
      [[ ! -e $near && ! -L $near ]] || fail not_a_folder "$near"
      near=${near%/*}
    done
    cd -P -- "$near/" || fail denied "$near"
    root=${PWD%/}${root#"$near"}
    near=$PWD
  fi
  [[ $root != / && /$root/ != */$reserved/* ]] || fail no_root "$root"
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
  local err
  err=$(tar -xpPf "$archive" -C "$stage" -b 512 --no-same-owner --warning=no-timestamp 2>&1) || {
    printf '%s\n' "$err" >&2
    fail unpack
  }
  [[ -e $stage/c/complete ]] || fail unpack
  ((size < 33554432)) || rm -f -- "$archive"
  cd "$stage/t"
  list_tree "$c/staged"
  comm -z -23 "$c/want" "$c/staged.rec" >"$c/wrong"
  refuse_any "$c/wrong" checksum
}

exclude() {
  local anything folders
  anything=$(<"$c/exclude") folders=$(<"$c/exclude-dirs")
  prune=(\( -false)
  [[ -z $anything ]] || prune+=(-o -regex "$anything")
  [[ -z $folders ]] || prune+=(-o -type d -regex "$folders")
  prune+=(\))
}

# Lists the root as it is, with the hashes that the last sync of it left in the state.
survey() {
  local known=() cutoff
  if [[ $verify != full && -s $state/index.$inode ]]; then
    # The first record is the cutoff, with a mark that sorts it before every key.
    IFS= read -r -d '' cutoff <"$state/index.$inode" || :
    [[ ! $cutoff =~ ^\![0-9]+\.[0-9]+$ ]] || known=("$state/index.$inode" "${cutoff#\!}")
  fi
  list_tree "$c/now" "${known[@]}"
  sort -z -o "$c/now.dirs" "$c/now.dirs" &
  sort -z -o "$c/now.nondirs" "$c/now.nondirs"
  wait $!
  trusted=$listed_cutoff
}

# Where no mode was sent, an entry keeps the one that it has: changes write.rec and what is staged.
keep_modes() {
  local record path has bits list
  local -A raw=()
  [[ -s $c/without-mode && -s $c/write.rec ]] || return 0
  # What is as sent with the default mode is not in write.rec any more.
  sed -zE 's/^([0-9a-f]{64} f|d)[0-7]{4} //; t; d' "$c/write.rec" | sort -z |
    comm -z -12 - "$c/without-mode" |
    comm -z -12 - <(sort -z -m "$c/now.dirs" "$c/now.nondirs") >"$c/keep"
  [[ -s $c/keep ]] || return 0
  while IFS= read -r -d '' record; do
    raw[${record#* }]=$((16#${record%% *}))
  done < <(xargs -0 stat --printf '%f %n\0' -- <"$c/keep" 2>/dev/null)
  while IFS= read -r -d '' record; do
    path=${record#* }
    if [[ $record == d[0-7][0-7][0-7][0-7]\ * ]]; then
      has=${raw[$path]:-0}
      ((has >> 12 != 4)) || printf -v record 'd%04o %s' $((has & 4095)) "$path"
    elif [[ $record != l\ * ]]; then
      path=${path#* }
      has=${raw[$path]:-0}
      if ((has >> 12 == 8)); then
        printf -v bits '%04o' $((has & 511))
        record="${record%% *} f$bits $path"
        printf '%s\0' "$path" >>"$c/chmod.$bits"
      fi
    fi
    printf '%s\0' "$record"
  done <"$c/write.rec" | sort -z | comm -z -23 - "$c/now.rec" >"$c/write.kept"
  mv -f -- "$c/write.kept" "$c/write.rec"
  for list in "$c"/chmod.*; do
    (cd "$stage/t" && xargs -0 chmod "${list##*.}" -- <"$list")
  done
}

# Decides what is to be deleted, and refuses what must not be overwritten.
plan() {
  comm -z -23 "$c/want" "$c/now.rec" >"$c/write.rec"
  keep_modes
  : >"$c/delete" >"$c/deletes.all"
  if [[ $mode == mirror || -s $c/deletes ]]; then
    sort -z -m "$c/now.dirs" "$c/now.nondirs" >"$c/now.paths"
  fi
  if [[ $mode == mirror ]]; then
    comm -z -23 "$c/now.paths" "$c/paths" >"$c/delete"
  fi
  if [[ -s $c/deletes ]]; then
    # Only what the survey saw is ever searched: no link is followed on the way to it.
    comm -z -12 "$c/deletes" "$c/now.paths" >"$c/deletes.there"
    xargs -0 -r bash -c 'find "$@" -print0' bash <"$c/deletes.there" | sort -zu |
      comm -z -12 - "$c/now.paths" >"$c/deletes.all"
    [[ $mode == mirror ]] || comm -z -23 "$c/deletes.all" "$c/paths" >"$c/delete"
  fi

  if [[ -s $c/now.kept ]]; then
    sort -z -o "$c/now.kept" "$c/now.kept"
    comm -z -12 "$c/paths" "$c/now.kept" >"$c/wrong"
    refuse_any "$c/wrong" in_the_way
  fi
  # Folders where a file is wanted, and files or links where a folder is.
  comm -z -12 "$c/nondirs" "$c/now.dirs" >"$c/obstacles.dirs"
  comm -z -12 "$c/dirs" "$c/now.nondirs" >"$c/obstacles"
  if [[ -s $c/obstacles ]]; then refuse_leaving; fi
  [[ ! -s $c/obstacles.dirs ]] || cat -- "$c/obstacles.dirs" >>"$c/obstacles"
  [[ -s $c/obstacles ]] || return 0
  if [[ $mode == patch ]]; then
    sort -z "$c/obstacles" | comm -z -23 - "$c/deletes.all" >"$c/wrong"
    refuse_any "$c/wrong" in_the_way
  fi
  spare_obstacles
}

# A link out of the root is not replaced by a folder unless the sync deletes it in so many words.
refuse_leaving() {
  local path
  while IFS= read -r -d '' path; do
    [[ -L $path ]] || continue
    case $(realpath -m -- "$path")/ in
      "$root"/*) ;;
      *) fail leaves_root "$path" ;;
    esac
  done < <(comm -z -23 "$c/obstacles" "$c/deletes.all")
}

# Takes what lies below an obstacle off the list of deletes: it goes with the obstacle, and by its
# path another file might be meant once a link stands there. Excluded entries must not go with it.
spare_obstacles() {
  local -A gone=()
  local path above
  while IFS= read -r -d '' path; do gone[$path]=1; done <"$c/obstacles.dirs"
  below() { # path: whether an obstacle is above it
    above=$1
    while above=${above%/*}; [[ $above != . ]]; do
      [[ -z ${gone[$above]-} ]] || return 0
    done
    return 1
  }
  while IFS= read -r -d '' path; do
    ! below "$path" || fail in_the_way "$path"
  done <"$c/now.kept"
  cp -- "$c/delete" "$c/deleted.candidates"
  while IFS= read -r -d '' path; do
    below "$path" || printf '%s\0' "$path"
  done <"$c/deleted.candidates" >"$c/delete"
}

# Moves the staged tree into a root that exists.
publish() {
  local path parent at=0 tops=() record bits='' chmods=()
  : >"$c/dirs.changed"
  local -A new=()
  while IFS= read -r -d '' path; do
    mv -T -- "$path" "$stage/x/$((at++))"
  done <"$c/obstacles"

  # A folder that is new comes with all that is in it, by one rename.
  while IFS= read -r -d '' path; do
    new[$path]=1
    parent=${path%/*}
    if [[ $parent == . ]]; then
      tops+=("$path")
    elif [[ -z ${new[$parent]-} ]]; then
      mv -T -- "$stage/t/$path" "$path"
    fi
  done < <(comm -z -23 "$c/dirs" "$c/now.dirs")
  ((${#new[@]} == 0)) || printf '%s\0' "${!new[@]}" | sort -z |
    comm -z -12 - "$c/named-dirs" >"$c/dirs.changed"
  if ((${#tops[@]})); then
    (cd "$stage/t" && printf '%s\0' "${tops[@]}" | xargs -0 mv -t "$root" --)
  fi

  replace_files

  # write.rec is sorted, so folders of one mode follow one another.
  while IFS= read -r -d '' record; do
    path=${record#* }
    [[ $record == d[0-7][0-7][0-7][0-7]\ * && -z ${new[$path]-} ]] || continue
    if [[ $bits != "${record:1:4}" ]] && ((${#chmods[@]})); then
      printf '%s\0' "${chmods[@]}" | xargs -0 chmod "$bits" --
      chmods=()
    fi
    bits=${record:1:4}
    chmods+=("$path")
    printf '%s\0' "$path" >>"$c/dirs.changed"
  done <"$c/write.rec"
  if ((${#chmods[@]})); then printf '%s\0' "${chmods[@]}" | xargs -0 chmod "$bits" --; fi
}

# Puts what differs into folders that were there. Of a file `cp -lf` makes a link by a temporary
# name and renames it, so every reader sees the old file or the new one. An old link it would remove
# first, so links are moved; so are files where there are no hard links.
replace_files() {
  local path
  [[ -s $c/changes ]] || return 0
  (cd "$stage/t" && find . -type f -print0) | sort -z | comm -z -12 - "$c/changes" >"$c/replace"
  if [[ -s $c/replace ]]; then
    if ! (cd "$stage/t" && xargs -0 cp -lfP --no-preserve=all --parents -t "$root" -- \
      <"$c/replace") 2>/dev/null; then
      while IFS= read -r -d '' path; do
        [[ "$stage/t/$path" -ef $path && ! -L $path ]] || mv -fT -- "$stage/t/$path" "$path"
      done <"$c/replace"
    fi
  fi
  while IFS= read -r -d '' path; do
    mv -fT -- "$stage/t/$path" "$path"
  done < <((cd "$stage/t" && find . -type l -print0) | sort -z | comm -z -12 - "$c/changes")
}

delete() {
  [[ -s $c/delete ]] || return 0
  comm -z -12 "$c/delete" "$c/now.nondirs" | xargs -0 -r rm -f --
  comm -z -12 "$c/delete" "$c/now.dirs" | sort -zr |
    xargs -0 -r rmdir --ignore-fail-on-non-empty --
}

# Prints the paths of the files and links among records.
paths_of() {
  sed -zE '/^d[0-7]{4} /d; s/^[0-9a-f]{64} f[0-7]{4} //; t; s,^l (\./[^/]+(/[^/]+)*)//.*$,\1,' "$1"
}

apply_fresh() {
  [[ $may == change || ! -s $c/paths ]] || fail would_change
  mkdir -p -- "${root%/*}/"
  mv -T -- "$stage/t" "$root"
  cd "$root"
  # Until now nobody but this script could write to it.
  just_before trusted
  : >"$c/now.nondirs" >"$c/now.dirs" >"$c/now.all" >"$c/delete"
  cp -- "$c/nondirs" "$c/changes"
  cp -- "$c/named-dirs" "$c/dirs.changed"
  exclude
  inode=$(stat -c '%d.%i' .)
}

apply_over() {
  exclude
  cd "$root"
  survey
  if [[ -n $expected && $(digest_of "$c/now.rec") != "$expected" ]]; then
    fail digest "$(digest_of "$c/now.rec")"
  fi
  plan
  if [[ ! -s $c/write.rec && ! -s $c/delete ]]; then
    after=now
    : >"$c/changes" >"$c/dirs.changed"
    return
  fi
  [[ $may == change ]] || fail would_change
  paths_of "$c/write.rec" | sort -z >"$c/changes"
  publish
  delete
}

report() {
  local digest user
  if [[ $after == then ]]; then
    cut -z -d ' ' -f 1,2 -- "$c/staged.all" "$c/now.all" | sort -zu >"$c/index"
    list_tree "$c/then" "$c/index" "$trusted"
  fi
  listed=$c/$after.all
  digest=$(digest_of "$c/$after.rec")
  user=$(id -un 2>/dev/null) || user=$EUID
  sort -z -m "$c/now.dirs" "$c/now.nondirs" >"$c/now.paths"
  printf '=changes\0'
  sort -z "$c/dirs.changed" "$c/changes" | comm -z -2 - "$c/now.paths"
  printf '=deleted\0'
  if [[ -s $c/delete || -s $c/obstacles ]]; then
    sort -z "$c/then.dirs" "$c/then.nondirs" >"$c/then.paths"
    # Beside what is gone altogether: what gave way to a folder that nobody named.
    sort -zu "$c/delete" "$c/deleted.candidates" "$c/obstacles" | comm -z -12 - "$c/now.paths" |
      comm -z -23 - <(comm -z -23 "$c/then.paths" \
        <(sort -z "$c/obstacles" | comm -z -23 - "$c/obstacles.dirs" | comm -z -23 - "$c/named-dirs"))
  fi
  printf '=end\0%s\0%s\0%s\0' "$root" "$digest" "$user"
}

after=then
# One at a time in a sandbox, for roots may lie in one another.
exec 9>"$state/lock"
flock -w 540 9 || fail busy
locate
# Whoever holds the lock is alone: what else is staged is of syncs that died.
shopt -s nullglob
leftovers=("$stages"/*)
stage=$stages/$id c=$stages/$id/c
# The kernel takes paths of 4,095 bytes, with that of the folder before them.
((${#stage} + 5 + ${#longest} <= 4095 && ${#root} + 3 + ${#longest} <= 4095)) ||
  fail too_long "$longest"
mkdir -p -- "$stage/x"
if [[ -n $expected && -z $exists ]]; then
  none=$(sha256sum </dev/null)
  [[ $expected == "${none%% *}" ]] || fail digest "${none%% *}"
fi
unpack
: >"$c/obstacles" >"$c/obstacles.dirs" >"$c/deleted.candidates"
if [[ -n $exists ]]; then apply_over; else apply_fresh; fi
report
