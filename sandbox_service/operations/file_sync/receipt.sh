# Receipts of syncs that have an id: kept in the sandbox, for as long as it lives, but no longer than
# a day. Comes after root.sh.
#
# Wants in `receipt` the name that the receipt is kept by, or nothing; in `asked` a digest of what
# the sync asks for; in `id` a name that no other sync has.

receipts=$state/receipts

# Answers with the receipt of an earlier sync of the same id, if one is kept, and ends.
answer_stored() {
  local before
  [[ -n $receipt && -e $receipts/$receipt ]] || return 0
  IFS= read -r -d '' before <"$receipts/$receipt" || :
  [[ $before == "$asked" ]] || fail sync_id
  printf '=stored\0'
  tail -z -n +2 -- "$receipts/$receipt"
  [[ ! -e $receipts/$receipt.reload ]] || cat -- "$receipts/$receipt.reload"
  exit 0
}

# Keeps the records of the report, also for a service that is not there any more to read it. Without room for it
# the sync has been done all the same.
keep_receipt() { # record...
  [[ -d $receipts ]] || mkdir -p -- "$receipts"
  printf '%s\0' "$asked" "$@" >"$receipts/$id" &&
    { [[ ! -e $receipts/$receipt.reload ]] || rm -f -- "$receipts/$receipt.reload"; } && mv -fT -- "$receipts/$id" "$receipts/$receipt" ||
    rm -f -- "$receipts/$id"
} 2>/dev/null

# Removes receipts that are a day old, and the oldest ones where there are too many: 4,096, 32 MiB.
prune_receipts() { # folder
  local age size path count=0 bytes=0 gone=()
  [[ -d $1 ]] || return 0
  find "$1" -type f -mmin +1440 -delete
  while IFS=' ' read -r -d '' age size path; do
    ((bytes += size, (++count <= 4096 && bytes <= 33554432) || count == 1)) || gone+=("$path")
  done < <(find "$1" -type f -printf '%T@ %s %p\0' | sort -zrn)
  ((${#gone[@]} == 0)) || printf '%s\0' "${gone[@]}" | xargs -0 rm -f --
}
