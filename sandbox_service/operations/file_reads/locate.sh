# Finds what a path names, for somebody to read it. Comes after file_sync's tree.sh and root.sh.

# Leaves in `path` what a path names, absolute.
name() { # path, absolute or relative to the home
  case $1 in
    '' | .) path=$home ;;
    /*) path=$1 ;;
    *) path=$home/$1 ;;
  esac
}

# Leaves in `real` the same without links. It is there.
locate() {
  local said
  IFS= read -r -d '' real < <(realpath -ez -- "$path" 2>/dev/null) || {
    said=$(realpath -ez -- "$path" 2>&1 >/dev/null) || :
    [[ $said != *': Permission denied' ]] || fail denied "$path"
    fail missing "$path"
  }
}

# Goes to a folder, and leaves in `real` its path without links.
enter() { # path
  name "$1"
  if { [[ -d $path && -r $path ]] && cd -P -- "$path"; } 2>/dev/null; then
    real=$PWD
    return
  fi
  locate
  [[ -d $real ]] || fail not_a_folder "$real"
  fail denied "$real"
}
