# What a sync has to write and to delete, and what it must not: decided before anything is changed.
# Comes after root.sh; sync.sh says what its lists are.

# Where no mode was sent, an entry keeps the one that it has: changes write.rec and what is staged.
keep_modes() {
  local record path has bits list
  local -A raw=()
  [[ -s $c/without-mode && -s $c/write.rec ]] || return 0
  list_paths
  # What is as sent with the default mode is not in write.rec any more.
  sed -zE 's/^([0-9a-f]{64} f|d)[0-7]{4} //; t; d' "$c/write.rec" | sort -z |
    comm -z -12 - "$c/without-mode" |
    comm -z -12 - "$c/now.paths" >"$c/keep"
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

# Refuses the sync when a file that was named as unchanged is not there as it was named.
verify_unchanged() {
  if [[ -s $c/unchanged ]]; then
    comm -z -23 "$c/unchanged" "$c/now.rec" >"$c/wrong"
    refuse_any "$c/wrong" unchanged
  fi
  [[ -s $c/unchanged-but-mode ]] || return 0
  sed -zE 's/^([0-9a-f]{64}) f[0-7]{4} /\1 /; t; d' "$c/now.rec" | sort -z |
    comm -z -23 "$c/unchanged-but-mode" - >"$c/wrong"
  refuse_any "$c/wrong" unchanged
}

# Takes names that are not UTF-8 off the list of deletes: no caller can have named them.
spare_unnameable() {
  local more='[\x80-\xBF]' utf8
  grep -zqa $'[\x80-\xff]' "$c/delete" || return 0
  utf8="[\x01-\x7F]|[\xC2-\xDF]$more|\xE0[\xA0-\xBF]$more|[\xE1-\xEC\xEE\xEF]$more{2}"
  utf8+="|\xED[\x80-\x9F]$more|\xF0[\x90-\xBF]$more{2}|[\xF1-\xF3]$more{3}|\xF4[\x80-\x8F]$more{2}"
  sed -zE "/^($utf8)*\$/d" "$c/delete" >"$c/unnameable"
  comm -z -23 "$c/delete" "$c/unnameable" >"$c/nameable"
  mv -f -- "$c/nameable" "$c/delete"
  cat -- "$c/unnameable" >>"$c/now.kept"
}

# Decides what is to be deleted, and refuses what must not be overwritten.
plan() {
  comm -z -23 "$c/want" "$c/now.rec" >"$c/write.rec"
  keep_modes
  : >"$c/delete" >"$c/deletes.all"
  if [[ $mode == mirror || -s $c/deletes ]]; then
    list_paths
  fi
  if [[ $mode == mirror ]]; then
    comm -z -23 "$c/now.paths" "$c/paths" >"$c/delete"
    spare_unnameable
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
  find_obstacles
  if [[ -s $c/obstacles ]]; then refuse_leaving; fi
  [[ ! -s $c/obstacles.dirs ]] || cat -- "$c/obstacles.dirs" >>"$c/obstacles"
  [[ -s $c/obstacles ]] || return 0
  if [[ $mode == patch ]]; then
    sort -z "$c/obstacles" | comm -z -23 - "$c/deletes.all" >"$c/wrong"
    refuse_any "$c/wrong" in_the_way
  fi
  spare_obstacles
}

# Finds folders where a file is wanted, and files or links where a folder is; leaves in `new` the
# folders that are to be made. A parent comes before what is in it, and is looked at first: what is
# seen through a link is not in the root.
find_obstacles() {
  local path wanted
  mapfile -d '' -t wanted <"$c/dirs"
  for path in "${wanted[@]}"; do
    if [[ -n ${new[${path%/*}]-} || ( ! -e $path && ! -L $path ) ]]; then
      new[$path]=1 made+=("$path")
    elif [[ -L $path || ! -d $path ]]; then
      new[$path]=1 made+=("$path")
      printf '%s\0' "$path" >>"$c/obstacles"
    fi
  done
  mapfile -d '' -t wanted <"$c/nondirs"
  for path in "${wanted[@]}"; do
    [[ -n ${new[${path%/*}]-} || ! -d $path || -L $path ]] || printf '%s\0' "$path"
  done >"$c/obstacles.dirs"
}

# Sorts the paths of the survey, once it is known that they are needed.
list_paths() {
  [[ ! -e $c/now.paths ]] || return 0
  sort -z -o "$c/now.dirs" "$c/now.dirs" &
  sort -z -o "$c/now.nondirs" "$c/now.nondirs"
  wait $!
  sort -z -m "$c/now.dirs" "$c/now.nondirs" >"$c/now.paths"
}

# A link out of the root is not replaced by a folder unless the sync deletes it in so many words.
refuse_leaving() {
  local path target
  while IFS= read -r -d '' path; do
    [[ -L $path ]] || continue
    if [[ -e $path ]]; then
      target=$(realpath -e -- "$path")
    else
      # It ends nowhere, perhaps in itself: `b -> b/c` has no end for a program that follows it.
      target=$(readlink -- "$path")
      [[ $target == /* ]] || target=${path%/*}/$target
      target=$(realpath -ms -- "$target")
    fi
    case $target/ in
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
