# Writes a range of a file to stdout. Comes after locate.sh. Changes nothing.
#
#   $1 path   $2 first byte   $3 how many, or nothing: to the end
#
# Writes `=file`, the real path, size, mode, mtime, user and group, NUL-terminated, and then the
# content; or `=behind_the_end` and the size; or `=failed`, as locate.sh does. Writes to stderr
# `=unreadable` when the content cannot be read, and, when the file is not as it was any more,
# `=changed` and the hash that the same range has now.

# The size is what the file has when it is opened, so one that only grows is read as it was then.
# A file of /proc or /sys may say that it is empty, and is read to its end; it comes in pieces as
# small as it likes, which is why full blocks are waited for.
range() {
  dd if=/proc/self/fd/3 iflag=skip_bytes,count_bytes,fullblock skip="$first" ${count:+count="$count"} \
    bs=128K status=none
}

look() { # array
  mapfile -d '' -t "$1" < <(stat -L --printf '%s\0%.9Y\0%.9Z\0%a\0%U\0%G\0' /proc/self/fd/3)
}

name "$1"
first=$2 count=$3
# Looked at before it is opened, for the opening of a pipe waits until somebody writes to it. By
# the path as it was given, for /proc/self is not the same for another program.
if [[ ! -f $path || ! -r $path ]]; then
  locate
  [[ -f $real ]] || fail not_a_file "$real"
  fail denied "$real"
fi
{ exec 3<"$path"; } 2>/dev/null || fail missing "$path"
IFS= read -r -d '' real < <(readlink -z /proc/self/fd/3) || :
look before
if ((${EPOCHREALTIME/./}000 - 10#${before[2]/./} < 20000000)); then
  # It may be written again in the clock's same tick, and nobody could tell.
  sleep 0.02
  look before
fi
size=${before[0]} end=${before[0]}
if ((size == 0 && first > 0)); then
  # Only reading tells how far such a file goes. One that cannot be read from its beginning, as
  # a process's memory, may be read from there.
  end=$(dd if=/proc/self/fd/3 iflag=count_bytes,fullblock count="$first" bs=128K 2>/dev/null | wc -c) ||
    end=$first
fi
if ((first > end)); then
  printf '=behind_the_end\0%s\0' "$end"
  exit 3
fi
left=$((size - first))
if ((size > 0)) && { [[ -z $count ]] || ((count > left)); }; then count=$left; fi
printf '=file\0%s\0%s\0%s\0%s\0%s\0%s\0' "$real" "$size" "${before[3]}" "${before[1]}" \
  "${before[@]:4:2}"
range || { printf '=unreadable\0' >&2; exit 3; }
look after
if [[ ${before[*]:0:3} != "${after[*]:0:3}" ]]; then
  digest=$(range | sha256sum)
  printf '=changed\0%s\0' "${digest%% *}" >&2
fi
