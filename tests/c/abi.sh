#!/usr/bin/env bash
# The C interface: compiled as C99 and as C++, run, and compared with the ABI that programs were built against.
#
#   abi.sh BUILD_DIR SOURCE_DIR VERSION            check
#   abi.sh BUILD_DIR SOURCE_DIR VERSION --accept   write abi.txt anew, after a change that was meant
set -euo pipefail
build=$1 source=$2 version=$3
here=$source/tests/c
work=$(mktemp -d)
STEM_SHM_DIRECTORY=$(mktemp -d /dev/shm/stem-c-XXXXXX)
export STEM_SHM_DIRECTORY
trap 'rm -rf "$work" "$STEM_SHM_DIRECTORY"' EXIT
strict=(-Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Werror -I "$source/include")

echo "== C99, and C++"
cc -std=c99 "${strict[@]}" -o "$work/outside" "$here/outside.c" -L "$build/lib" -lstem-c -Wl,-rpath,"$build/lib"
printf '#include <stem/stem.h>\n' | cc -std=c99 "${strict[@]}" -Wc++-compat -fsyntax-only -x c -
printf '#include <stem/stem.h>\n' |
  c++ -std=c++11 -Wall -Wextra -Wpedantic -Werror -I "$source/include" -fsyntax-only -x c++ -

echo "== a worker and a producer"
said=$(timeout 120 "$work/outside" "$work/marker")
[ "$said" = "stem $version" ] || { echo "outside said '$said'"; exit 1; }

echo "== the ABI"
{
  objdump -p "$build/lib/libstem-c.so" | sed -nE 's/^ *SONAME +/soname /p'
  nm -D --defined-only "$build/lib/libstem-c.so" | awk '{print "symbol", $2, $3}' | sort -u
  "$work/outside" layout
} >"$work/abi.txt"
if [ "${4-}" = --accept ]; then cp "$work/abi.txt" "$here/abi.txt"; fi
diff -u "$here/abi.txt" "$work/abi.txt" ||
  { echo "the ABI differs from tests/c/abi.txt; a change breaks programs unless it only adds"; exit 1; }
echo "ok"
