# What a sync has made of its root, and how long each phase took. Comes after root.sh; sync.sh says
# what its lists are.

phases=() phase_began=${EPOCHREALTIME/./}

# Ends a phase: how long it took is told in the report.
phase() { # name
  local now=${EPOCHREALTIME/./}
  phases+=("$1" "$((now - phase_began))")
  phase_began=$now
}

# Lists what a sync of the root has made of it, with the hashes that are known.
relist() {
  cut -z -d ' ' -f 1,2 -- "$c/staged.all" "$c/now.all" | sort -zu >"$c/index"
  list_tree "$c/then" "$c/index" "$trusted"
  listed=$c/then.all
  digest_of digest "$c/then.rec"
  list_paths
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
}

# The same where little was written and all else is as it was: from the records alone.
relist_little() {
  local records record path patterns=() written=("${files[@]}" "${links[@]}" "${folders[@]#* }")
  local -A is_new=()
  for path in "${written[@]}"; do
    is_new[$path]=1
    patterns+=(-e " $path")
  done
  # All that may be the old records of these, some more among them.
  grep -zaF "${patterns[@]}" -- "$c/now.rec" >"$c/candidates" || (($? == 1))
  mapfile -d '' -t records <"$c/candidates"
  : >"$c/old.rec"
  for record in "${records[@]}"; do
    case $record in
      d????\ *) path=${record:6} ;;
      l\ *) path=${record:2} path=${path%%//*} ;;
      *) path=${record:71} ;;
    esac
    [[ -n ${is_new[$path]-} ]] || continue
    is_new[$path]=0
    printf '%s\0' "$record" >>"$c/old.rec"
  done
  digest=$(comm -z -23 "$c/now.rec" "$c/old.rec" | sort -z -m - "$c/write.rec" | sha256sum)
  digest=${digest%% *}
  printf '=changes\0'
  for path in "${written[@]}"; do
    if [[ ${is_new[$path]} == 1 ]]; then printf '%s\0' "$path"; else printf '\t%s\0' "$path"; fi
  done
  printf '=deleted\0'
}

# Whether a program listens on a TCP port. It connects to nobody.
listens() { # port
  local hex table lines
  printf -v hex '%04X' "$1"
  for table in /proc/net/tcp /proc/net/tcp6; do
    [[ -r $table ]] || continue
    mapfile -d '' -t lines <"$table"
    # Local address, remote address, state: 0A is LISTEN.
    [[ ! ${lines[0]-} =~ :$hex\ [0-9A-F]+:[0-9A-F]{4}\ 0A\  ]] || return 0
  done
  return 1
}

report() {
  local digest others=() user='\u' port=unknown
  listed=$c/now.all
  printf '%s\0' "$note"
  case $after in
    then)
      relist
      mapfile -d '' -t others <"$c/then.others"
      ;;
    with) relist_little ;;
    now)
      digest_of digest "$c/now.rec"
      printf '=changes\0=deleted\0'
      mapfile -d '' -t others <"$c/now.others"
      ;;
  esac
  user=${user@P}
  [[ $user != 'I have no name!' ]] || user=$EUID
  [[ ! -r /proc/net/tcp ]] || port=closed
  ! listens "$preview" || port=open
  phase report
  printf '=phases\0'
  printf '%s\0' "${phases[@]}"
  printf '=end\0%s\0%s\0%s\0%s\0%s\0' "$root" "$digest" "$user" "$port" "${#others[@]}"
}
