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
  list_tree "$c/then" "$c/staged.all" "$trusted" "$c/now.all" "$trusted"
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

# The same where little is to be written and all else stays as it is: from the records alone, so
# that it can be done while that is written. Leaves it in a file, with the digest last.
relist_little() {
  local digest
  {
    printf '=changes\0'
    perl -e "$rewrite" "$c/now.rec" "$c/write.rec" "$c/then.rec"
    digest_of digest "$c/then.rec"
    printf '=deleted\0%s\0' "$digest"
  } >"$c/little"
}

# Replaces records by others of the same paths, and tells which paths were added and modified.
rewrite='
my ($old, $new, $merged) = @ARGV;
my (%is_new, @records);
$/ = "\0";
$\ = "\0";
open my $in, "<", $new or die "$new: $!\n";
chomp(my @written = <$in>);
my @paths = map { path() } @written;
@is_new{@paths} = (1) x @paths;
open $in, "<", $old or die "$old: $!\n";
while (<$in>) {
  chomp;
  my $path = path();
  if (exists $is_new{$path}) { $is_new{$path} = 0 } else { push @records, $_ }
}
@records = sort @records, @written;
open my $to, ">", $merged or die "$merged: $!\n";
print { $to } join "\0", @records;
close $to or die "$merged: $!\n";
print $is_new{$_} ? $_ : "\t$_" for @paths;

# Of a record: the path behind its type and mode, or behind its hash and mode.
sub path {
  return substr $_, 6 if /^d[0-7]{4} /;
  return substr $_, 71 unless /^l /;
  return substr $_, 2, index($_, "//") - 2;
}
'

# Whether a program listens on a TCP port. It connects to nobody.
listens() { # port
  local hex version lines tables=()
  printf -v hex '%04X' "$1"
  for version in '' 6; do
    # For a table the kernel looks through all connections of the machine, which takes
    # milliseconds; a sandbox without any socket needs none.
    if [[ -r /proc/net/sockstat$version ]]; then
      mapfile -t lines <"/proc/net/sockstat$version"
      [[ ! "${lines[*]} " =~ TCP6?:\ inuse\ 0\  ]] || continue
    fi
    tables+=("/proc/net/tcp$version")
  done
  # Local address, remote address, state: 0A is LISTEN.
  ((${#tables[@]})) && grep -Eqs ":$hex [0-9A-F]+:[0-9A-F]{4} 0A " "${tables[@]}"
}

report() {
  local digest little others=() user='\u' port=unknown
  listed=$c/now.all
  printf '%s\0' "$note"
  case $after in
    then)
      relist
      mapfile -d '' -t others <"$c/then.others"
      ;;
    with)
      wait "$rewriting"
      rewriting=
      mapfile -d '' -t little <"$c/little"
      printf '%s\0' "${little[@]::${#little[@]}-1}"
      digest=${little[-1]}
      ;;
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
