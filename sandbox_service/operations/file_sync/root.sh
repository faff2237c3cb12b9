# What a sync and a plan begin with: one at a time in a sandbox, the root's real path, what is in it.
# Comes after tree.sh.
set -euo pipefail
shopt -s inherit_errexit
export LC_ALL=C PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:${PATH-}"
umask 022
unset -v PERL5OPT PERL5LIB PERL5DB PERL_UNICODE

home=${HOME:-~}
state=$home/$reserved

fail() { # word detail
  local kind=other
  if [[ -L ${2-} ]]; then kind=link; elif [[ -d ${2-} ]]; then kind=directory; fi
  [[ $kind != other || ! -f ${2-} ]] || kind=file
  printf '=failed\0%s\0%s\0%s\0' "$1" "${2-}" "$kind"
  exit 3
}

# Fails with a word and the first entry of a list that should be empty.
refuse_any() { # list word
  local first
  [[ ! -s $1 ]] || { IFS= read -r -d '' first <"$1" || :; fail "$2" "$first"; }
}

# Waits until no other sync or plan is under way: roots may lie in one another.
take_turn() {
  exec 9>"$state/lock"
  flock -w 540 9 || fail busy
}

# Leaves in `root` its real path, in `exists` whether it is there, in `near` the nearest folder that
# is, and goes there.
find_root() { # root, absolute or relative to the home
  root=$1
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
}

# Leaves out of what follows what matches: exclude ANYTHING FOLDERS, two regular expressions
exclude() {
  prune=(\( -false)
  [[ -z $1 ]] || prune+=(-o -regex "$1")
  [[ -z $2 ]] || prune+=(-o -type d -regex "$2")
  prune+=(\))
}

# Likewise, from arguments that `printf %b` reads: exclude_escaped COUNT ANYTHING... FOLDERS...
exclude_escaped() {
  local anything folders
  printf -v anything %b "${@:2:$1}"
  printf -v folders %b "${@:2+$1}"
  exclude "$anything" "$folders"
}

# Lists the current folder, with the hashes that the last sync or plan of it left in the state.
survey() { # OUT inode
  local known=() cutoff
  if [[ $verify != full && -f $state/index.$2 && -s $state/index.$2 ]]; then
    IFS= read -r -d '' cutoff <"$state/index.$2" || :
    [[ ! $cutoff =~ ^\![0-9]+\.[0-9]+$ ]] || known=("$state/index.$2" "${cutoff#\!}")
  fi
  list_tree "$1" "${known[@]}"
}
