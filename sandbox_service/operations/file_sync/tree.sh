# Describes trees of files: what is there, with modes, hashes and where links point.
#
# Wants LC_ALL=C, bash 5, and in `prune` the expression of `find` that is true for what is excluded.
# Perl is the one that every Debian has, without its modules: one such program takes the place of a
# dozen others, and starting those is what a small sync would wait for.

reserved=.sandbox-sync
prune=(-false)

# Describes the tree in the current folder: list_tree OUT [INDEX CUTOFF]...
#   OUT.rec     the records of the digest, sorted
#   OUT.all     first `!` and a CUTOFF; then stat key, hash, mode and path of every file
#   OUT.rest    records of folders and links, unsorted; OUT.others: paths of what has no record
#   OUT.dirs, OUT.nondirs, OUT.kept     paths, unsorted; kept ones are excluded
#   OUT.fresh   is there when something was hashed
# An INDEX is the OUT.all of an earlier list. Its hashes are known by stat key: device, inode, size,
# mtime, ctime. It is not believed for files whose ctime is not before its CUTOFF: they may have been
# written again in the clock's same tick.
list_tree() {
  local err line
  just_before listed_cutoff
  find . -mindepth 1 -regextype posix-extended -name "$reserved" -prune \
    -o "${prune[@]}" -prune -printf 'x%p\0' -o -type d -printf 'd%04m %p\0' \
    -o -type l -printf 'l %p//%l\0' -o -type f -printf 'f%D.%i.%s.%T@.%C@ f%04m %p\0' \
    -o -printf 'o%p\0' 2>"$1.err" | perl -e "$list" "$1" "$listed_cutoff" "${@:2}" || {
    ((PIPESTATUS[1] == 0)) || return 1
    # Programs go on while this runs: what vanishes or is locked is not part of the tree.
    err=$(<"$1.err")
    while IFS= read -r line; do
      [[ $line == *': No such file or directory' || $line == *': Permission denied' ]] || {
        printf '%s\n' "$err" >&2
        return 1
      }
    done <<<"$err"
  }
}

# Reads what `find` sees, and writes the lists. No call is made per line: there may be many.
list='
my ($out, $cutoff, @indexes) = @ARGV;
my (%to, %known, @records, @todo, %sum, @running);
$/ = "\0";
$\ = "\0";

while (my ($index, $until) = splice @indexes, 0, 2) {
  open my $in, "<", $index or die "$index: $!\n";
  while (<$in>) {
    # Of a key the last part is the ctime; of the nanoseconds a double holds enough.
    $known{$1} = $3 if /^(\S+\.(\d+\.\d+)) ([0-9a-f]{64})/ && $2 < $until;
  }
}

for my $name (qw(rec all rest others dirs nondirs kept)) {
  open $to{$name}, ">", "$out.$name" or die "$out.$name: $!\n";
}
my ($all, $rest, $dirs, $nondirs) = @to{qw(all rest dirs nondirs)};
print $all "!$cutoff";
while (<STDIN>) {
  chomp;
  my $kind = substr $_, 0, 1, "";
  if ($kind eq "f") {
    my $at = index $_, " ";
    my $hash = $known{substr $_, 0, $at};
    print $nondirs substr $_, $at + 7;
    push(@todo, $_), next unless defined $hash;
    substr $_, $at, 0, " $hash";
    print $all $_;
    push @records, substr $_, $at + 1;
  } elsif ($kind eq "d") {
    print $rest "d$_";
    print $dirs substr $_, 5;
    push @records, "d$_";
  } elsif ($kind eq "l") {
    print $rest "l$_";
    print $nondirs substr $_, 1, index($_, "//") - 1;
    push @records, "l$_";
  } elsif ($kind eq "x") {
    print { $to{kept} } $_;
  } else {
    print { $to{others} } $_;
    print $nondirs $_;
  }
}
%known = ();

if (@todo) {
  open my $fresh, ">", "$out.fresh" or die "$out.fresh: $!\n";
  my @paths = map { (split / /, $_, 3)[2] } @todo;
  # Two at a time, each with half of the paths, or with as many as fit into arguments.
  my $half = @paths < 96 ? 48 : 1 + int(@paths / 2);
  # What vanished meanwhile would be told of, too.
  open my $stderr, ">&", STDERR;
  open STDERR, ">", "/dev/null";
  while (@paths || @running) {
    while (@paths && @running < 2) {
      my ($share, $bytes) = (0, 0);
      $bytes += 9 + length $paths[$share++] while $share < @paths && $share < $half && $bytes < 500000;
      open my $sums, "-|", "sha256sum", "-z", "--", splice @paths, 0, $share or die "sha256sum: $!\n";
      push @running, $sums;
    }
    my $sums = shift @running;
    while (<$sums>) { $sum{substr $_, 66, -1} = substr $_, 0, 64 }
  }
  open STDERR, ">&", $stderr;
}
for (@todo) {
  my ($key, $rest) = split / /, $_, 2;
  my $path = substr $rest, 6;
  # What vanished is left out; what cannot be read gets a hash of zeros.
  my $hash = $sum{$path} || -f($path) && "0" x 64 or next;
  print $all "$key $hash $rest";
  push @records, "$hash $rest";
}
@records = sort @records;
print { $to{rec} } join "\0", @records if @records;
for my $name (keys %to) { close $to{$name} or die "$out.$name: $!\n" }
'

# Puts into a variable a time so far back that the clock has ticked since: just_before NAME
just_before() {
  local now=$((${EPOCHREALTIME/./} - 20000))
  printf -v "$1" '%s.%s' "${now:0:-6}" "${now: -6}"
}

# Puts the digest of records into a variable: digest_of NAME RECORDS
digest_of() {
  local sum
  sum=$(exec sha256sum <"$2")
  printf -v "$1" %s "${sum%% *}"
}
