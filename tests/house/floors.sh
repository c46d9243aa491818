#!/usr/bin/env bash
# Refuses an include that points up, and a clock in a floor that promises to read none.
# What may include what stands in floors.txt.
#
#   floors.sh ROOT             check the tree at ROOT; 1, with a line for each fault
#   floors.sh --self-check     plant each kind of fault in a small tree and see that it is refused
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

declare -A directory_of may_include vocabulary
timeless=()

read_table() {
  local kind directory allowed
  while read -r kind directory allowed; do
    case "$kind" in
      '' | '#'*) ;;
      vocabulary) vocabulary[$directory]=yes ;;
      timeless) timeless+=("$directory") ;;
      *)
        directory_of[$kind]=$directory
        may_include[$kind]=" $kind $allowed "
        ;;
    esac
  done <"$here/floors.txt"
}

# One line "file:line:path" for every include directive below directory $1.
includes_below() {
  { grep -rnE --include='*.hpp' --include='*.cpp' --include='*.h' \
    '^[[:space:]]*#[[:space:]]*include[[:space:]]*[<"]' "$1" || true; } |
    sed -E 's/^([^:]*:[0-9]+):[^<"]*[<"]([^>"]*)[>"].*$/\1:\2/' | sort
}

# Says what is wrong with an include of $3 in file $2 (a path below the root) on floor $1, or
# nothing. Each branch is one reason to refuse.
fault_of() {
  local floor=$1 file=$2 target=$3
  local room=${target%%/*} own=${file#include/}
  if [[ $target == ../* || $target == */../* || $target == src/* || $target == include/* ]]; then
    echo "names a path, not a room; write it as in \"shm/ring.hpp\""
  elif [[ $room == tests || $room == bench || $room == examples ]]; then
    echo "is not part of the product"
  elif [[ $target != */* || -z ${directory_of[$room]-} ]]; then
    return 0 # the standard library, an outside library, or a neighbour in the same directory
  elif [[ -n ${vocabulary[$target]-} ]]; then
    return 0
  elif [[ $floor == stem && -n ${vocabulary[$own]-} ]]; then
    echo "is more than a vocabulary header may include"
  elif [[ ${may_include[$floor]} != *" $room "* ]]; then
    echo "points up; $floor may include only:${may_include[$floor]}"
  fi
}

check_includes() {
  local root=$1 floor hit where target fault faults=0
  for floor in "${!directory_of[@]}"; do
    [ -d "$root/${directory_of[$floor]}" ] || continue
    while IFS= read -r hit; do
      hit=${hit#"$root"/} where=${hit%:*} target=${hit##*:}
      fault=$(fault_of "$floor" "${where%:*}" "$target")
      if [ -n "$fault" ]; then
        echo "$where: \"$target\" $fault"
        faults=$((faults + 1))
      fi
    done < <(includes_below "$root/${directory_of[$floor]}")
  done
  return $((faults > 0))
}

check_clocks() {
  local root=$1 directory faults=0
  local clock='clock_gettime *\(|_clock::now *\(|__rdtscp? *\(|base/clock\.hpp|base/log\.hpp|spdlog/'
  for directory in "${timeless[@]}"; do
    [ -d "$root/$directory" ] || continue
    # What follows // is prose, and prose may speak of clocks.
    while IFS= read -r hit; do
      echo "${hit#"$root"/}: reads a clock or logs, on a floor that promises not to"
      faults=$((faults + 1))
    done < <({ grep -rnE --include='*.hpp' --include='*.cpp' "$clock" "$root/$directory" || true; } |
      grep -vE '^[^:]*:[0-9]+:[[:space:]]*//' | grep -E ":[0-9]+:([^/]|/[^/])*($clock)" || true)
  done
  return $((faults > 0))
}

check_tree() {
  local rc=0
  check_includes "$1" || rc=1
  check_clocks "$1" || rc=1
  return $rc
}

# Each planted fault must be refused, and the same tree without it accepted.
self_check() {
  local tree rc=0
  tree=$(mktemp -d)
  trap 'rm -rf "$tree"' RETURN
  mkdir -p "$tree"/{src/{base,engine,io,worker,api},shm,include/stem,tools/stem,federation}
  printf '#include "base/check.hpp"\n#include <atomic>\n' >"$tree/shm/ring.hpp"
  printf '#include "shm/ring.hpp"\n#include "queue.hpp"\n#include "stem/result.hpp"\n' >"$tree/src/engine/queue.cpp"
  printf '#include <string>\n' >"$tree/include/stem/result.hpp"
  printf '// never calls clock_gettime(CLOCK_MONOTONIC)\n' >"$tree/shm/prose.hpp"
  if ! check_tree "$tree"; then
    echo "self-check: a sound tree was refused"
    rc=1
  fi

  local fault file line found
  while IFS='|' read -r fault file line; do
    printf '%s\n' "$line" >"$tree/$file"
    if found=$(check_tree "$tree"); then
      echo "self-check: not refused: $fault ($file: $line)"
      rc=1
    elif [[ $found != "$file:1:"* ]]; then
      echo "self-check: $fault: expected a fault at $file:1, got: $found"
      rc=1
    fi
    rm "$tree/$file"
  done <<'FAULTS'
shm includes the engine|shm/planted.hpp|#include "engine/queue.hpp"
base includes shm, in angle brackets|src/base/planted.cpp|  #  include <shm/ring.hpp>
engine includes the front door|src/engine/planted.hpp|#include "stem/client.hpp"
io knows tasks|src/io/planted.hpp|#include "engine/queue.hpp"
worker includes a tool|src/worker/planted.cpp|#include "tools/stem/command.hpp"
the product includes a test|src/worker/planted.hpp|#include "tests/support/segment.hpp"
a path instead of a room|src/engine/planted.cpp|#include "../worker/supervisor.hpp"
the root instead of a room|shm/planted.cpp|#include "src/base/check.hpp"
a vocabulary header with more than words|include/stem/version.hpp|#include "shm/ring.hpp"
a clock read in shm|shm/planted.cpp|auto now = std::chrono::steady_clock::now();
a clock header in the engine|src/engine/planted.hpp|#include "base/clock.hpp"
FAULTS
  return $rc
}

read_table
case "${1-}" in
  --self-check) self_check ;;
  '' | -*) echo "usage: floors.sh ROOT | --self-check" >&2; exit 2 ;;
  *) check_tree "$1" ;;
esac
