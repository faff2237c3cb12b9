"""Programs of ours that stand in for some of the system's, which cannot work inside."""

from __future__ import annotations

from typing import Final

from sandbox_service.e2b_local.machine.model import HOME, ROOT_HOME

_HEAD: Final = f"""\
#!/bin/sh
# A sandbox has one uid, which may do all that can be done in it. So a command runs as it
# is; what changes is the name it runs under.
take_name() {{
  case "$1" in
    root | '#0') name=root home={ROOT_HOME} ;;
    user | '#1000') name=user home={HOME} ;;
    *) return 1 ;;
  esac
}}
"""

# What root installs must be found by who asked for it, so HOME stays unless that is
# wished otherwise.
_SUDO: Final = """\
take_name root
login='' shell='' set_home='' idle=''
refuse() { echo "sudo: $1" >&2; exit 1; }
while [ $# -gt 0 ]; do
  case "$1" in
    --) shift; break ;;
    --user=*) value=${1#*=}; shift; set -- -u "$value" "$@"; continue ;;
    --chdir=*) cd "${1#*=}" || exit 1 ;;
    --login) login=1 ;;
    --shell) shell=1 ;;
    --set-home) set_home=1 ;;
    --validate | --list | --reset-timestamp | --remove-timestamp) idle=1 ;;
    --version) echo 'Sudo version 1.9 (of a sandbox)'; exit 0 ;;
    --user | --chdir | --group | --host | --prompt | --close-from | --role | --type | --chroot \\
      | --command-timeout | --other-user)
      [ $# -gt 1 ] || refuse "option '$1' requires an argument"
      option=$1 value=$2; shift 2
      set -- "$option=$value" "$@"
      continue ;;
    --*) ;;
    -?*)
      flags=${1#-}
      while [ -n "$flags" ]; do
        rest=${flags#?}
        flag=${flags%"$rest"}
        flags=$rest
        case "$flag" in
          i) login=1 ;;
          s) shell=1 ;;
          H) set_home=1 ;;
          v | l | k | K) idle=1 ;;
          V) echo 'Sudo version 1.9 (of a sandbox)'; exit 0 ;;
          [ughpCDRrtTU])
            if [ -n "$flags" ]; then value=$flags flags=''
            elif [ $# -gt 1 ]; then value=$2; shift
            else refuse "option requires an argument -- '$flag'"
            fi
            case "$flag" in
              u) take_name "$value" || refuse "unknown user $value"
                 [ "$name" = root ] || set_home=1 ;;
              D) cd "$value" || exit 1 ;;
            esac ;;
        esac
      done ;;
    [A-Za-z_]*=*) export "$1" ;;
    *) break ;;
  esac
  shift
done
export SUDO_USER="${USER:-user}" SUDO_UID=1000 SUDO_GID=1000 USER="$name" LOGNAME="$name"
[ -z "$login$set_home" ] || export HOME="$home"
if [ -n "$login" ]; then
  cd "$home" || exit 1
  [ $# -gt 0 ] || exec /bin/bash -l
  exec /bin/bash -l -c '"$0" "$@"' "$@"
fi
if [ -n "$shell" ]; then
  [ $# -gt 0 ] || exec "${SHELL:-/bin/bash}"
  exec "${SHELL:-/bin/bash}" -c '"$0" "$@"' "$@"
fi
if [ $# -eq 0 ]; then
  [ -n "$idle" ] || refuse 'a command is missing'
  exit 0
fi
command -v -- "$1" >/dev/null 2>&1 || refuse "$1: command not found"
exec "$@"
"""

_SU: Final = """\
take_name root
login='' keep='' named='' has_command='' command='' shell=/bin/bash
while [ $# -gt 0 ]; do
  case "$1" in
    --) shift; break ;;
    - | -l | --login) login=1 ;;
    -c | --command | -lc) [ "$1" != -lc ] || login=1; shift; has_command=1 command=${1-} ;;
    --command=*) has_command=1 command=${1#*=} ;;
    -s | --shell) shift; shell=${1-} ;;
    --shell=*) shell=${1#*=} ;;
    -m | -p | --preserve-environment) keep=1 ;;
    -g | -G | -w | --group | --supp-group | --whitelist-environment) shift ;;
    -*) ;;
    *)
      [ -z "$named" ] || break
      take_name "$1" || { echo "su: user $1 does not exist" >&2; exit 1; }
      named=1 ;;
  esac
  [ $# -eq 0 ] || shift
done
[ -n "$keep" ] || export HOME="$home" USER="$name" LOGNAME="$name" SHELL="$shell"
if [ -n "$login" ]; then
  cd "$home" || exit 1
fi
[ -z "$has_command" ] || exec "$shell" ${login:+-l} -c "$command" "$@"
exec "$shell" ${login:+-l} "$@"
"""

SHIMS: Final = {"sudo": _HEAD + _SUDO, "su": _HEAD + _SU}
"""Name and text of each."""
