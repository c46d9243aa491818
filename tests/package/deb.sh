#!/usr/bin/env bash
# Builds the Debian packages, unpacks them into a scratch root, and uses what is there as an outside project would.
# Nothing of the machine is touched: apt only says whether it could install them.
#
#   deb.sh BUILD_DIR CXX VERSION
set -euo pipefail
build=$1 cxx=$2 version=$3
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
STEM_SHM_DIRECTORY=$(mktemp -d /dev/shm/stem-deb-XXXXXX)
export STEM_SHM_DIRECTORY
trap 'rm -rf "$work" "$STEM_SHM_DIRECTORY"' EXIT
root=$work/root

step() { echo "== $*"; }
fail() { echo "$*"; exit 1; }

step "the packages"
(cd "$build" && cpack -B "$work/packages") >"$work/cpack.log" 2>&1 || { cat "$work/cpack.log"; exit 1; }
names=$(for deb in "$work"/packages/*.deb; do dpkg-deb -f "$deb" Package; done | sort | tr '\n' ' ')
[ "$names" = "libstem libstem-dev python3-stem stem-tools " ] || fail "packages: $names"
for deb in "$work"/packages/*.deb; do
  dpkg-deb -x "$deb" "$root"
  name=$(dpkg-deb -f "$deb" Package)
  [ "$(dpkg-deb -f "$deb" Version)" = "$version-1" ] || fail "$name has another version"
  [ -s "$root/usr/share/doc/$name/copyright" ] || fail "$name has no copyright"
done
twice=$(for deb in "$work"/packages/*.deb; do dpkg-deb -c "$deb"; done | awk '$1 !~ /^d/ {print $6}' | sort | uniq -d)
[ -z "$twice" ] || fail "in two packages: $twice"
strangers=$(cd "$root" && find . -type f ! -path './usr/*' ! -path './lib/systemd/*')
[ -z "$strangers" ] || fail "outside /usr: $strangers"
dpkg-deb -f "$work"/packages/stem-tools_*.deb Depends | grep -q libhiredis || fail "stem-tools lacks its libraries' packages"
dpkg-deb -I "$work"/packages/libstem_*.deb shlibs | grep -q '^libstem-c 1 libstem (>= ' ||
  fail "libstem's shlibs tie programs to one version, or are missing"

# What stemConfig.cmake looks for, by the package that brings it.
depends=$(dpkg-deb -f "$work"/packages/libstem-dev_*.deb Depends)
wanted=$(sed -nE 's/^ *find_dependency\((\w+).*/\1/p' "$root/usr/lib/cmake/stem/stemConfig.cmake")
wanted+=$'\n'$(sed -nE 's/^ *pkg_check_modules\(.* (\w+)\)$/\1/p' "$root/usr/lib/cmake/stem/stemConfig.cmake")
[ "$(wc -w <<<"$wanted")" -ge 7 ] || fail "stemConfig.cmake wants only: $wanted"
for one in $wanted; do
  case $one in
    Threads) continue ;; # the C library's own
    fmt) package=libfmt-dev ;;
    spdlog) package=libspdlog-dev ;;
    nlohmann_json) package=nlohmann-json3-dev ;;
    PkgConfig) package='pkg-config | pkgconf' ;;
    libxxhash | liburing) package=$one-dev ;;
    date) package=libhowardhinnant-date-dev ;;
    *) fail "stemConfig.cmake looks for $one: say here which package brings it" ;;
  esac
  [[ ", $depends," == *", $package,"* ]] || fail "libstem-dev does not depend on $package: $depends"
done

step "apt could install them"
apt-get install --simulate --no-install-recommends "$work"/packages/*.deb >"$work/apt.log" 2>&1 ||
  { cat "$work/apt.log"; exit 1; }
[ "$(grep -cE '^Conf (libstem|libstem-dev|python3-stem|stem-tools) ' "$work/apt.log")" = 4 ] ||
  { cat "$work/apt.log"; exit 1; }

step "libstem-dev: find_package"
cmake -G Ninja -S "$here/outside" -B "$work/outside" -DCMAKE_CXX_COMPILER="$cxx" -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_PREFIX_PATH="$root/usr" >"$work/cmake.log"
cmake --build "$work/outside" >>"$work/cmake.log" || { cat "$work/cmake.log"; exit 1; }
[ "$(timeout 120 "$work/outside/outside" 2>/dev/null)" = "stem $version" ] || fail "the C++ program does not work"

step "libstem: a C program"
export PKG_CONFIG_PATH=$root/usr/lib/pkgconfig LD_LIBRARY_PATH=$root/usr/lib
# shellcheck disable=SC2046 # the flags are words
cc -std=c99 -o "$work/outside_c" "$here/../c/outside.c" $(pkg-config --cflags --libs stem-c)
[ "$(timeout 120 "$work/outside_c" "$work/marker" 2>/dev/null)" = "stem $version" ] || fail "the C program does not work"

[ -s "$root/usr/lib/systemd/system/stem-worker@.service" ] || fail "no units"
[ -s "$root/usr/lib/sysusers.d/stem.conf" ] || fail "no user for the units"

step "stem-tools: the maintainer scripts, with commands that only note how they were called"
mkdir -p "$work/control" "$work/stubs" "$work/systemd"
dpkg-deb -e "$work"/packages/stem-tools_*.deb "$work/control"
for stub in systemctl systemd-sysusers; do
  printf '#!/bin/sh\necho "%s $*" >>"%s/calls"\n' "$stub" "$work" >"$work/stubs/$stub"
  chmod +x "$work/stubs/$stub"
done
# run_script SCRIPT ARGUMENT...: what it called, a line each, on a host where systemd runs
run_script() {
  local name=$1
  shift
  grep -q /run/systemd/system "$work/control/$name" || fail "$name does not ask whether systemd runs"
  sed "s|/run/systemd/system|$work/systemd|g" "$work/control/$name" >"$work/script"
  : >"$work/calls"
  PATH=$work/stubs:$PATH sh "$work/script" "$@" || fail "$name $* failed"
}
called() { grep -qx -- "$1" "$work/calls" || fail "not called: $1; but: $(cat "$work/calls")"; }
run_script postinst configure
called "systemd-sysusers stem.conf"
called "systemctl daemon-reload"
run_script prerm upgrade "$version-2"
[ ! -s "$work/calls" ] || fail "an upgrade stops services: $(cat "$work/calls")"
run_script prerm remove
called "systemctl disable --now stem-gateway.service stem-beat.service stem-dashboard.service"
called 'systemctl stop stem-worker@\*.service'
called "systemctl disable stem-worker@.service"
for unit in "$root"/usr/lib/systemd/system/*.service; do
  grep -qF "$(basename "$unit")" "$work/calls" || fail "a removal leaves $(basename "$unit") running"
done
run_script postrm remove
called "systemctl daemon-reload"
dpkg-deb -f "$work"/packages/stem-tools_*.deb Depends | grep -qF "systemd | systemd-standalone-sysusers" ||
  fail "stem-tools does not ask for systemd-sysusers"

step "stem-tools and python3-stem: a task from one to the other"
stem=$root/usr/bin/stem
[ "$("$stem" version)" = "stem $version" ] || fail "stem says another version"
MANPATH=$root/usr/share/man man -w stem-worker >/dev/null || fail "no manual page"
# shellcheck disable=SC2016 # for the other bash
bash -c 'source "$1" && complete -p stem' - "$root/usr/share/bash-completion/completions/stem" >/dev/null ||
  fail "no completion for bash"
"$stem" worker start --exec 'count=wc -w' -c 1 --pin none >"$work/worker.log" 2>&1 &
worker=$!
said=$(PYTHONPATH=$root/usr/lib/python3/dist-packages timeout 60 /usr/bin/python3 -B -c '
import stem
with stem.Client() as client:
    print(stem.__version__, client.enqueue("count", "to be or not").get(30, as_="text").strip())') || true
kill "$worker" && wait "$worker"
[ "$said" = "$version 4" ] || { cat "$work/worker.log"; fail "python said '$said'"; }
echo "ok"
