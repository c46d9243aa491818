#!/usr/bin/env bash
# Builds the tests of the lower floors for AArch64 and runs them under qemu-user: that they build there, and that their
# programs do what they do here. What an emulator on x86-64 cannot show, weaker memory, is tests/explorer's.
#
#   tests/aarch64/run.sh            everything below
#   tests/aarch64/run.sh --build    no more than the build
#
# Wants g++-aarch64-linux-gnu and qemu-user, which tools/setup does not install. The libraries come from Debian's arm64
# packages, unpacked below build/aarch64: no foreign architecture is added to this system.
set -euo pipefail
cd "$(dirname "$0")/../.."
here=tests/aarch64
build=build/aarch64
root=$PWD/$build/root

for program in aarch64-linux-gnu-g++ qemu-aarch64; do
  command -v "$program" >/dev/null ||
    { echo "aarch64: no $program: apt-get install g++-aarch64-linux-gnu qemu-user" >&2; exit 70; }
done

packages=(
  libfmt-dev libfmt9 libspdlog-dev libspdlog1.10 nlohmann-json3-dev libcli11-dev libxxhash-dev libxxhash0
  liburing-dev liburing2 libhiredis-dev libhiredis0.14 libssl-dev libssl3 libhowardhinnant-date-dev libdate-tz3
  libmimalloc-dev libmimalloc2.0 libgtest-dev libgmock-dev googletest
)

# apt with a state of its own, so that what it learns of arm64 stays there.
fetch() {
  local state=$PWD/$build/apt
  mkdir -p "$state/lists/partial" "$state/archives/partial" "$state/packages" "$root"
  : >>"$state/status"
  local apt=(apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o "Dir::State::lists=$state/lists"
    -o "Dir::State::status=$state/status" -o "Dir::Cache=$state" -o APT::Sandbox::User=root)
  "${apt[@]}" update
  (cd "$state/packages" && "${apt[@]}" download "$@")
  local package
  for package in "$state"/packages/*.deb; do dpkg-deb --extract "$package" "$root"; done
}

[ -e "$root/.complete" ] || { fetch "${packages[@]}"; touch "$root/.complete"; }

rooms=(base shm engine interleaving)
cmake -S . -B $build -G Ninja -DCMAKE_TOOLCHAIN_FILE="$PWD/$here/toolchain.cmake" -DCMAKE_BUILD_TYPE=Release \
  -DSTEM_UNITY=ON -DSTEM_BUILD_TOOLS=OFF -DSTEM_BUILD_BENCH=OFF -DSTEM_BUILD_EXAMPLES=OFF >/dev/null
cmake --build $build --target "${rooms[@]/#/test_}" -- "-j${STEM_JOBS:-2}"
[ "${1-}" = --build ] && exit 0

# Left out: tests that start processes by the hundred, of which each takes a tenth of a second under qemu-user; and one that
# waits for the kernel's mark on a robust mutex, whose list qemu-user does not pass on (the lock that proves a death it does).
failed=0
run() {
  echo "$1"
  qemu-aarch64 -L /usr/aarch64-linux-gnu "$build/bin/test_$1" --gtest_brief=1 --gtest_filter="-$2" || failed=1
}
run base ''
run interleaving ''
run shm 'SegmentTest.EveryFlippedHeaderByteIsRefusedOrHarmless:SegmentTest.ManyWhoOpenOrCreateAtOnceMeetInOne'
run engine 'Kill.*:Neighbour.*:ForkTest.AChildThatLivesOnDoesNotHideTheParentsDeath'
exit "$failed"
