#!/usr/bin/env bash
# Installs the build into a staging prefix, moves that, and uses it as an outside project would:
# once through find_package, once through pkg-config.
#
#   package.sh BUILD_DIR CXX VERSION
set -euo pipefail
build=$1 cxx=$2 version=$3
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
# The programs' segments: their own, and away with them at the end.
STEM_SHM_DIRECTORY=$(mktemp -d /dev/shm/stem-package-XXXXXX)
export STEM_SHM_DIRECTORY
trap 'rm -rf "$work" "$STEM_SHM_DIRECTORY"' EXIT

step() { echo "== $*"; }
expect_version() {
  local said
  said=$(timeout 120 "$@")
  if [ "$said" != "stem $version" ]; then
    echo "$* said '$said', expected 'stem $version'"
    exit 1
  fi
}

step "install, and move what was installed"
cmake --install "$build" --prefix "$work/staged" >"$work/install.log" || { cat "$work/install.log"; exit 1; }
mv "$work/staged" "$work/prefix"

step "find_package"
cmake -G Ninja -S "$here/outside" -B "$work/build" -DCMAKE_CXX_COMPILER="$cxx" -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_PREFIX_PATH="$work/prefix"
cmake --build "$work/build"
grep -q "^stem_DIR:PATH=$work/prefix/" "$work/build/CMakeCache.txt" ||
  { echo "find_package took another stem than the staged one"; exit 1; }
expect_version "$work/build/outside"

step "pkg-config"
pc=$(find "$work/prefix" -name stem.pc)
export PKG_CONFIG_PATH=${pc%/*}
[ "$(pkg-config --modversion stem)" = "$version" ] || { echo "stem.pc has another version"; exit 1; }
# shellcheck disable=SC2046 # the flags are words
"$cxx" -std=c++20 -o "$work/outside" "$here/outside/outside.cpp" \
  $(pkg-config --static --cflags --libs stem)
expect_version "$work/outside"

step "pkg-config, from C"
# shellcheck disable=SC2046
cc -std=c99 -o "$work/outside_c" "$here/../c/outside.c" $(pkg-config --cflags --libs stem-c)
expect_version env LD_LIBRARY_PATH="${PKG_CONFIG_PATH%/pkgconfig}" "$work/outside_c" "$work/marker"

step "each public header compiles by itself"
headers=$(find "$work/prefix/include/stem" -maxdepth 1 -name '*.hpp')
[ -n "$headers" ] || { echo "no public header was installed"; exit 1; }
for header in $headers; do
  # shellcheck disable=SC2046
  "$cxx" -std=c++20 -fsyntax-only -Wall -Wextra -Werror -x c++ \
    -include "$header" /dev/null $(pkg-config --cflags stem)
done
echo "ok"
