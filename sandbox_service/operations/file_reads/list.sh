# Lists a page of what is in a folder. Comes after locate.sh. Changes nothing.
#
#   $1 path    $2 levels to go down    $3 the most entries
#   $4 the path behind which the page begins, in base64, or nothing
#
# Writes NUL-terminated fields to stdout: `=folder` and its real path; `=next` and the path behind
# which the next page begins, or nothing; of each entry its type, size, mode, mtime, user, group,
# path and target; then `=end`. Or `=failed`, as locate.sh does. What cannot be read is left out,
# so is what vanishes meanwhile, and so are paths that are too long.

# Runs a part of a pipeline, and ends everything should it die: half a list looks like a whole one.
surely() {
  local code=0
  "$@" || code=$?
  ((code < 2 || code == 141)) || kill "$$"
}

# A letter before each path tells what was found from the one behind which the page begins.
paths() {
  surely find . -mindepth 1 -maxdepth "$depth" -path "$too_long" -prune -o -printf 'a%p\0' \
    2>/dev/null
  [[ -z $after ]] || printf 'b./%s\0' "$after"
}

# Drops the path behind which the page begins, with all that comes before it.
rest() {
  if [[ -n $after ]]; then surely sed -z '0,/^b/d' | head -z -n "$1"; else exec head -z -n "$1"; fi
}

depth=$2 most=$3 after=
# The kernel takes no path that is longer, so nothing could be said of it.
printf -v too_long '%4096s' ''
too_long=${too_long// /?}*
# Not $(), which would take a line break off the end of a name.
[[ -z $4 ]] || IFS= read -r -d '' after < <(base64 -d <<<"$4") || :
enter "$1"
mapfile -d '' -t page < <(
  set +o pipefail
  paths | surely sort -z -k 1.2 -S 32M | rest "$((most + 1))"
)
page=("${page[@]#?}")
next=
((${#page[@]} <= most)) || next=${page[most - 1]}
printf '=folder\0%s\0=next\0%s\0' "$real" "$next"
if ((${#page[@]})); then
  printf '%s\0' "${page[@]:0:most}" | xargs -0 bash -c 'find "$@" -maxdepth 0 -printf "$0" || :' \
    '%y\0%s\0%m\0%T@\0%u\0%g\0%p\0%l\0' 2>/dev/null
fi
printf '=end\0'
