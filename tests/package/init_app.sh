#!/usr/bin/env bash
# `stem init-app` as a new user meets it: the project is written, and the three commands of its README are run as
# they stand there.
#
#   init_app.sh BUILD_DIR CXX
set -euo pipefail
build=$1
export CXX=$2 stem_DIR=$1 PATH=$1/bin:$PATH
work=$(mktemp -d)
STEM_SHM_DIRECTORY=$(mktemp -d /dev/shm/stem-init-XXXXXX)
export STEM_SHM_DIRECTORY
trap 'rm -rf "$work" "$STEM_SHM_DIRECTORY"' EXIT
cd "$work"
fail() { echo "$*"; exit 1; }
expect_code() {
  local wanted=$1 got=0
  shift
  "$@" >"$work/said" 2>&1 || got=$?
  [ "$got" = "$wanted" ] || { cat "$work/said"; fail "$*: exit code $got, not $wanted"; }
}

stem init-app my.greeter-2 --dir deep/below >next
grep -q 'cd deep/below' next || fail "it does not say where"
cd deep/below
mapfile -t commands < <(sed -n 's/^    //p' README.md)
[ ${#commands[@]} = 3 ] || fail "the README has ${#commands[@]} commands"
for command in "${commands[@]}"; do grep -qF "  $command" "$work/next" || fail "init-app does not print: $command"; done
bash -c "${commands[0]}" >build.log 2>&1 || { cat build.log; fail "it does not build"; }
! grep -q warning build.log || { cat build.log; fail "it builds with warnings"; }
bash -c "exec ${commands[1]} --concurrency 1 --pin none" >worker.log 2>&1 &
worker=$!
said=$(timeout 60 bash -c "${commands[2]}" | tail -1) || { cat worker.log; fail "the task did not run"; }
kill "$worker" && wait "$worker" || fail "the worker did not stop well"
[ "$said" = '"Hello, world! (attempt 0)"' ] || fail "it said $said"

echo "mine" >main.cpp
cd "$work"
expect_code 70 stem init-app my.greeter-2 --dir deep/below
grep -q 'is there already' said || fail "no reason was given"
[ "$(cat deep/below/main.cpp)" = mine ] || fail "a file was written over"
mkdir half && ln -s nowhere half/README.md
expect_code 70 stem init-app half
[ "$(ls half)" = README.md ] || fail "half a project was written"
for name in '' '../x' 'a b' '-x' 'a"b' 'a/b'; do expect_code 2 stem init-app -- "$name"; done
expect_code 2 stem init-app
touch file
expect_code 70 stem init-app x --dir file
echo "ok"
