# Goes before the supervisor: keeps an exec's record, output and end in the sandbox.
#
#   $1  nonce
#   $2  the exec's id, which no other exec of the sandbox may have
#   $3  how many KiB of each stream to keep; 0: none
#   $4  its marker
#   $5  what else is to be found again: a line
#
# Files in a folder of the user's own: ID.exec (three lines: who and where it is,
# the line of $5, who spools), ID.out and ID.err (the streams), ID.end; for a
# program with an input, ID.in (all of it) and ID.feed (who feeds it, and a
# second line once it is whole).
# Tells on standard output whether the program may run: "ok", "taken" (there is
# an exec of that id) or "full" (nothing can be kept). Where output is spooled,
# both streams tell from where on.
__sbx_root=/var/tmp/.sandbox-execs-$EUID
__sbx_kept=$__sbx_root/$2
__sbx_started() {
  local IFS=$' \t\n' stat=()
  [ ! -r "/proc/$1/stat" ] || mapfile -t stat <"/proc/$1/stat"
  stat=(${stat#*) })
  __sbx_now=${stat[19]:-0}
}
__sbx_keep_end() {
  printf '%s:%s %s\n' "$1" "${__sbx_signal-}" "${EPOCHREALTIME/[^0-9]/}" >|"$__sbx_kept.end"
} 2>/dev/null
# A signal that bash dies of looks like an exit to the trap of its end.
__sbx_died() {
  __sbx_signal=$1
  trap - "$1" EXIT
  __sbx_end "$2"
  kill -s "$1" "$$"
}
__sbx_refuse() {
  printf '\036%s=%s\036' "$1" "$2"
  exit 0
}
[ -d "$__sbx_root" ] || mkdir -m 700 -- "$__sbx_root" 2>/dev/null
[ -d "$__sbx_root" ] && [ -O "$__sbx_root" ] && [ ! -L "$__sbx_root" ] || __sbx_refuse "$1" full
read -r __sbx_boot </proc/sys/kernel/random/boot_id
__sbx_started 1
__sbx_boot=$__sbx_boot.$__sbx_now
__sbx_started "$$"
[ ! -e "$__sbx_kept.exec" ] || __sbx_refuse "$1" taken
# Made by one alone, however many come at once: the others must not take the file, while it is
# still empty, for one that there was no room to write.
__sbx_made=
set -C
{
  __sbx_made=1
  printf '%s ' "$$" "$__sbx_now" "$__sbx_boot" "${EPOCHREALTIME/[^0-9]/}" "$3" "$4" "$1" &&
    printf '\n%s\n' "$5"
} 2>/dev/null >"$__sbx_kept.exec" || {
  [ -n "$__sbx_made" ] || [ ! -e "$__sbx_kept.exec" ] || __sbx_refuse "$1" taken
  [ -z "$__sbx_made" ] || rm -f -- "$__sbx_kept.exec"
  __sbx_refuse "$1" full
}
set +C
__sbx_heedless() {
  trap '' HUP INT QUIT ILL TRAP ABRT BUS FPE USR1 SEGV USR2 PIPE ALRM TERM TSTP TTIN TTOU \
    XCPU XFSZ VTALRM PROF IO PWR SYS
}
# Passes on what is appended to the file behind descriptor 3, whenever a byte on 9
# says so, until the second line of $2 says that it is whole, or 9 is closed.
__sbx_feed() {
  local more=more
  __sbx_heedless
  exec 2>/dev/null
  while [ -n "$more" ]; do
    read -rN 1 -u 9 || more=
    ! { read -r && read -r; } <"$2" || more=
    cat <&3 || break
  done
  exec >&- 3<&-
  # What was read needs no room; the length stays, for it is the count.
  fallocate -p -o 0 -l "$(stat -c %s -- "$1")" "$1"
}
if [ "$3" != 0 ] && [ -p /proc/self/fd/0 ]; then
  : >|"$__sbx_kept.in"
  # Opened here: whoever looks for the feeder knows it by these from the beginning.
  exec 3<"$__sbx_kept.in" 9<&0
  exec < <(__sbx_feed "$__sbx_kept.in" "$__sbx_kept.feed")
  printf '%s\n' "$!" >|"$__sbx_kept.feed"
  exec 3<&- 9<&-
fi
printf '\036%s=ok\036' "$1"
if [ "$3" != 0 ]; then
  printf '\036%s=ok\036' "$1" >&2
  # Whoever writes the spool outlives the program: it takes no signal but KILL,
  # and the killer knows it by its own mark.
  __sbx_spool() {
    __sbx_heedless
    export SANDBOX_EXEC_MARKER=spool:$SANDBOX_EXEC_MARKER
    ulimit -S -f "$2"
    exec tee -a -- "$1" 2>/dev/null
  }
  # Before anybody can look for them.
  : >|"$__sbx_kept.out" >|"$__sbx_kept.err"
  exec > >(__sbx_spool "$__sbx_kept.out" "$3")
  __sbx_now=$!
  exec 2> >(__sbx_spool "$__sbx_kept.err" "$3" >&2)
  printf '%s %s\n' "$__sbx_now" "$!" >>"$__sbx_kept.exec"
  trap '__sbx_died HUP 129' HUP
  trap '__sbx_died INT 130' INT
  trap '__sbx_died TERM 143' TERM
fi
shift 5
