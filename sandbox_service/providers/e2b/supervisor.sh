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
# end up in the program's own file; its pipe is told by its inode. On a terminal
# both are the same, and it comes once.
#
# A trailer is "exit code:clock ticks of processor time:1 when memory ran out".
__sbx_nonce=$1 __sbx_how=$2 __sbx_folder=$3 __sbx_cwd=$4
shift 4
mapfile -t __sbx_out </proc/self/fdinfo/1
mapfile -t __sbx_err </proc/self/fdinfo/2
[ "${__sbx_out[*]:2:2}" != "${__sbx_err[*]:2:2}" ] || __sbx_err=(- - one stream)
# What the kernel tells of the memory of the sandbox, or of this group of processes.
__sbx_memory=/sys/fs/cgroup/memory.events __sbx_before=(-)
if [ ! -r "$__sbx_memory" ]; then
  __sbx_memory=/sys/fs/cgroup/memory/memory.oom_control
  if [ ! -r "$__sbx_memory" ] && [ -r /proc/self/cgroup ]; then
    mapfile -t __sbx_before </proc/self/cgroup
    __sbx_memory=/sys/fs/cgroup${__sbx_before#0::}/memory.events
  fi
fi
[ ! -r "$__sbx_memory" ] || mapfile -t __sbx_before 2>/dev/null <"$__sbx_memory"
# Whether the kernel has killed for want of memory since then.
__sbx_was_oom() {
  local now=() before="${__sbx_before[*]} "
  [ -r "$__sbx_memory" ] || return 1
  mapfile -t now <"$__sbx_memory"
  now="${now[*]} " before=${before##*oom_kill } now=${now##*oom_kill }
  [ "${now%% *}" != "${before%% *}" ] && [ "${before%% *}" -ge 0 ]
} 2>/dev/null
__sbx_end() {
  # A child that a signal meets before it has begun to be another program still
  # has this trap.
  [ "$BASHPID" = "$$" ] || return 0
  local IFS=$' \t\n' oom=0 used=() now=() told
  [ -z "$__sbx_folder" ] || rm -rf -- "$__sbx_folder"
  [ "$1" != 137 ] || ! __sbx_was_oom || oom=1
  [ ! -r /proc/self/stat ] || mapfile -t used </proc/self/stat
  used=(${used#*) })
  told=$1:$((${used[11]:-0} + ${used[12]:-0} + ${used[13]:-0} + ${used[14]:-0})):$oom
  [ -z "${__sbx_kept-}" ] || __sbx_keep_end "$told"
  [ ! -e /proc/self/fdinfo/1 ] || mapfile -t now </proc/self/fdinfo/1
  [ "${now[*]:2:2}" != "${__sbx_out[*]:2:2}" ] || printf '\036%s:%s\036' "$__sbx_nonce" "$told"
  now=()
  [ ! -e /proc/self/fdinfo/2 ] || mapfile -t now </proc/self/fdinfo/2
  [ "${now[*]:2:2}" != "${__sbx_err[*]:2:2}" ] || printf '\036%s:%s\036' "$__sbx_nonce" "$told" >&2
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
