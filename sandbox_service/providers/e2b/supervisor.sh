# Runs one program and marks the end of its output. $0 is bash itself.
#
#   $1  nonce: makes the trailer unforgeable by accident
#   $2  how: "line" (a shell command) or "argv"
#   $3  a folder to delete afterwards, or empty
#   $4  the folder to run in, or empty: a login profile may have left it
#   $5  the shell command, or the program and its arguments from here on
#
# The trailer goes to both streams: whoever has read it on both has read all
# that was written before the program's end, even while another process still
# holds them open. A stream that the program redirected gets none, for it would
# end up in the program's own file; its pipe is told by its inode.
__sbx_nonce=$1 __sbx_how=$2 __sbx_folder=$3 __sbx_cwd=$4
shift 4
mapfile -t __sbx_out </proc/self/fdinfo/1
mapfile -t __sbx_err </proc/self/fdinfo/2
__sbx_end() {
  # A child that a signal meets before it has begun to be another program still
  # has this trap.
  [ "$BASHPID" = "$$" ] || return 0
  local now=()
  [ -z "$__sbx_folder" ] || rm -rf -- "$__sbx_folder"
  [ ! -e /proc/self/fdinfo/1 ] || mapfile -t now </proc/self/fdinfo/1
  [ "${now[*]:2:2}" != "${__sbx_out[*]:2:2}" ] || printf '\036%s:%d\036' "$__sbx_nonce" "$1"
  now=()
  [ ! -e /proc/self/fdinfo/2 ] || mapfile -t now </proc/self/fdinfo/2
  [ "${now[*]:2:2}" != "${__sbx_err[*]:2:2}" ] || printf '\036%s:%d\036' "$__sbx_nonce" "$1" >&2
}
trap '{ __sbx_code=$?; set +x; trap - DEBUG; } 2>/dev/null; __sbx_end "$__sbx_code"' EXIT
[ -z "$__sbx_cwd" ] || cd -- "$__sbx_cwd"
if [ "$__sbx_how" = argv ]; then
  # A subshell, so that no builtin is mistaken for the program. Bash's own
  # remark about a killed child is not the program's output.
  { (exec -- "$@" 2>&3 3>&-); } 3>&2 2>/dev/null
else
  __sbx_line=$1
  set --
  eval "$__sbx_line"
fi
