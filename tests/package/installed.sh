#!/usr/bin/env bash
# Builds the Debian packages and has dpkg install, use, remove and purge them, in a root of its own: this machine's as it
# is, under an overlay in memory. Nothing of the machine is touched.
#
#   installed.sh BUILD_DIR CXX VERSION
#
# Wants to be root, for the overlay; 77 (skipped) when it is not.
set -euo pipefail
build=$1 cxx=$2 version=$3
here=$(cd "$(dirname "$0")" && pwd)
packages='libstem libstem-dev stem-tools python3-stem'

step() { echo "== $*"; }
fail() { echo "$*"; exit 1; }

# ---- inside the root, as a user of the packages would
if [ "${4:-}" = inside ]; then
  cd /stem
  export STEM_SHM_DIRECTORY=/dev/shm/stem
  mkdir -p "$STEM_SHM_DIRECTORY"

  # State and automatic removals apart, dpkg says nothing of packages that are as they should be.
  in_order() {
    for name in $packages; do
      [ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$name")" = "ii " ] || fail "$name: $(dpkg-query -s "$name" | head -3)"
    done
    # shellcheck disable=SC2086
    [ -z "$(dpkg --audit $packages)$(dpkg --verify $packages)" ] || fail "dpkg finds fault: $(dpkg --audit) $(dpkg --verify)"
  }

  step "dpkg installs them, and runs their scripts"
  ! getent passwd stem >/dev/null || fail "this machine has a user stem already: the test can tell nothing"
  dpkg -i packages/*.deb >dpkg.log 2>&1 || { cat dpkg.log; exit 1; }
  in_order
  getent passwd stem >/dev/null || fail "no user for the units"
  # shellcheck disable=SC2086
  dpkg-query -L $packages | sort -u >files

  step "what was installed is found without being told where"
  [ "$(stem version)" = "stem $version" ] || fail "stem says another version"
  man -w stem-worker >/dev/null || fail "no manual page"
  [ "$(ldconfig -p | grep -c 'libstem-c\.so\.1 ')" = 1 ] || fail "ldconfig does not know libstem-c.so.1"
  cmake -G Ninja -S outside -B outside-build -DCMAKE_CXX_COMPILER="$cxx" -DCMAKE_BUILD_TYPE=Release >cmake.log ||
    { cat cmake.log; exit 1; }
  grep -q '^stem_DIR:PATH=/usr/lib/' outside-build/CMakeCache.txt || fail "find_package took another stem"
  cmake --build outside-build >>cmake.log || { cat cmake.log; exit 1; }
  [ "$(timeout 120 outside-build/outside 2>/dev/null)" = "stem $version" ] || fail "the C++ program does not work"
  # shellcheck disable=SC2046 # the flags are words
  cc -std=c99 -o outside_c outside.c $(pkg-config --cflags --libs stem-c)
  said=$(timeout 120 ./outside_c /stem/marker 2>c.log) || true
  [ "$said" = "stem $version" ] || { tail c.log; fail "the C program said '$said'"; }
  stem worker start --exec 'count=wc -w' -c 1 --pin none >worker.log 2>&1 &
  worker=$!
  said=$(timeout 60 /usr/bin/python3 -B -c '
import stem
with stem.Client() as client:
    print(stem.__file__, stem.__version__, client.enqueue("count", "to be or not").get(30, as_="text").strip())') || true
  kill "$worker" && wait "$worker"
  [ "$said" = "/usr/lib/python3/dist-packages/stem/__init__.py $version 4" ] ||
    { cat worker.log; fail "python said '$said'"; }

  step "again, over what is there"
  dpkg -i packages/*.deb >dpkg.log 2>&1 || { cat dpkg.log; exit 1; }
  in_order

  step "removed on a host where systemd runs: its services are stopped"
  mkdir -p /run/systemd/system stubs
  printf '#!/bin/sh\necho "$*" >>/stem/calls\n' >stubs/systemctl
  chmod +x stubs/systemctl
  # shellcheck disable=SC2086
  PATH=/stem/stubs:$PATH dpkg -r $packages >dpkg.log 2>&1 || { cat dpkg.log; exit 1; }
  for call in 'disable --now stem-gateway.service stem-beat.service stem-dashboard.service' 'stop stem-worker@*.service' \
    daemon-reload; do
    grep -qxF -- "$call" calls || fail "not called: systemctl $call; but: $(cat calls)"
  done
  rmdir /run/systemd/system

  step "purged: nothing of theirs is left"
  # shellcheck disable=SC2086
  dpkg -P $packages >dpkg.log 2>&1 || { cat dpkg.log; exit 1; }
  ! dpkg-query -W -f '${Package} ${db:Status-Abbrev}\n' $packages 2>/dev/null | grep -v 'un $' || fail "dpkg remembers them"
  while IFS= read -r file; do
    [ -d "$file" ] || [ ! -e "$file" ] || fail "left behind: $file"
  done <files
  ! command -v stem >/dev/null || fail "stem is still there"
  [ "$(ldconfig -p | grep -c 'libstem-c')" = 0 ] || fail "ldconfig still knows libstem-c"
  exit 0
fi

# ---- outside it
if [ "$(id -u)" != 0 ]; then
  echo "it takes root to make a root of one's own"
  exit 77
fi
if [ "${4:-}" != apart ]; then
  exec unshare --mount --propagation private "$0" "$build" "$cxx" "$version" apart
fi

# From here on in a mount namespace of its own, which takes all mounts with it.
work=$(mktemp -d)
trap 'umount -l "$work"; rmdir "$work"' EXIT
mount -t tmpfs stem-installed "$work"
mkdir "$work"/{upper,own,root}
step "the packages"
(cd "$build" && cpack -B "$work/packages") >"$work/cpack.log" 2>&1 || { cat "$work/cpack.log"; exit 1; }
mount -t overlay stem-installed -o "lowerdir=/,upperdir=$work/upper,workdir=$work/own" "$work/root"
root=$work/root
mkdir -p "$root/stem/packages"
cp "$work"/packages/*.deb "$root/stem/packages"
cp -r "$here/outside" "$here/../c/outside.c" "$here/installed.sh" "$root/stem"
mount --rbind /dev "$root/dev"
mount -t tmpfs stem-installed "$root/dev/shm"
mount -t proc proc "$root/proc"
mount -t tmpfs stem-installed "$root/run"
env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 \
  chroot "$root" /stem/installed.sh - "$cxx" "$version" inside
# What the machine's files would have become: dpkg's own notes, ldconfig's and man's caches, and the user, who stays.
left=$(cd "$work/upper" && find . \( -type f -o -type l \) ! -path './stem/*' ! -path './var/lib/dpkg/*' ! -path './var/log/*' \
  ! -path './var/cache/*' ! -path './etc/ld.so.cache' ! -path './etc/passwd*' ! -path './etc/shadow*' ! -path './etc/group*' \
  ! -path './etc/gshadow*' ! -path './etc/.pwd.lock')
[ -z "$left" ] || fail "left in the root: $left"
echo "ok"
