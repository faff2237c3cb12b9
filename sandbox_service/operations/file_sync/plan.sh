# Describes the tree at a root, for somebody to compare theirs with. Changes nothing in it.
# Comes after tree.sh and root.sh.
#
#   $1 root, absolute or relative to the home   $2 changed or full
#   $3 a name for this plan that no other has   $4 how many arguments from $5 on are the expression
#   of all that is excluded; the others are that of folders. Both as `printf %b` reads them.
#
# Writes NUL-terminated records to stdout: `=tree`, the root and its digest; then of each file its
# stat key, hash, mode and path, of each folder and link what is in the digest, and of anything else
# its path; then `=end`. Or `=failed`, as sync.sh does.
verify=$2
c=$state/stage/$3

trap 'rm -rf -- "$c"' EXIT
trap 'exit 143' TERM INT HUP

# Why it cannot be made is told, for there may be no room for it.
mkdir -p -- "$state" || fail denied "$home"
take_turn
find_root "$1"
mkdir -p -- "$c"
if [[ -n $exists ]]; then
  [[ -r . ]] || fail denied "$root"
  exclude_escaped "${@:4}"
  inode=$(stat -c '%d.%i' .)
  survey "$c/now" "$inode"
else
  : >"$c/now.rec" >"$c/now.all" >"$c/now.rest" >"$c/now.others"
fi
digest_of digest "$c/now.rec"
# It is read as slowly as the caller likes: nobody has to wait for that, and a kill leaves nothing.
exec 3<"$c/now.all" 4<"$c/now.rest" 5<"$c/now.others"
# With nothing hashed the old index is as good. Without room for it the next plan hashes.
[[ ! -e $c/now.fresh ]] || mv -fT -- "$c/now.all" "$state/index.$inode" 2>/dev/null || :
cd /
rm -rf -- "$c"
exec 9>&-
# Its first record is none of a file.
IFS= read -r -d '' -u 3 _ || :
printf '=tree\0%s\0%s\0' "$root" "$digest"
cat <&3
cat <&4
cat <&5
printf '=end\0'
