#!/usr/bin/env bash
# Keeps the house honest where a compiler does not look.
#
#   tidy.sh ROOT             check the tree at ROOT; 1, with a line for each fault
#   tidy.sh --self-check     plant each kind of fault in a small tree and see that it is refused
set -euo pipefail

max_lines=700
rooms=(include src shm federation bench tools tests examples)

# Paths below the root, of files in the rooms that match the find(1) expression given.
files() {
  local root=$1 room
  shift
  for room in "${rooms[@]}"; do
    if [ -d "$root/$room" ]; then (cd "$root" && find "$room" -type f \( "$@" \)); fi
  done | sort
}

code_files() { files "$1" -name '*.hpp' -o -name '*.cpp' -o -name '*.h'; }

# Each check prints one line for every fault, and nothing else.

headers_without_pragma_once() {
  local file
  files "$1" -name '*.hpp' | while IFS= read -r file; do
    grep -q '^#pragma once$' "$1/$file" || echo "$file: no #pragma once"
  done
}

files_that_hide_a_second_noun() {
  local file lines
  code_files "$1" | while IFS= read -r file; do
    lines=$(wc -l <"$1/$file")
    if [ "$lines" -gt "$max_lines" ]; then echo "$file: $lines lines (at most $max_lines)"; fi
  done
}

# A header that nothing includes is dead. The public ones are included by programs we never see.
headers_nobody_includes() {
  local file room_path included
  included=$(code_files "$1" | sed "s|^|$1/|" | tr '\n' '\0' |
    xargs -0 -r sed -nE 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*[<"]([^>"]*)[>"].*/\1/p' | sort -u)
  files "$1" -name '*.hpp' | while IFS= read -r file; do
    case "$file" in include/*) continue ;; esac
    room_path=${file#src/}
    if ! grep -qxF -e "$room_path" -e "${file##*/}" <<<"$included"; then
      echo "$file: nothing includes it"
    fi
  done
}

# order(NAME) stands at both ends of an ordered access, and docs/memory-ordering.md has a row
# | `NAME` | ... for each name.
order_marks_without_a_row() {
  local table=$1/docs/memory-ordering.md mark
  order_marks "$1" | while IFS= read -r mark; do
    grep -qE "^\| *\`?$(quote "$mark")\`? *\|" "$table" 2>/dev/null ||
      echo "order($mark): docs/memory-ordering.md has no row for it"
  done
}

order_rows_without_a_mark() {
  local table=$1/docs/memory-ordering.md marks row
  [ -e "$table" ] || return 0
  marks=$(order_marks "$1")
  sed -nE 's/^\| *`([a-z0-9_]+(\.[a-z0-9_]+)+)` *\|.*/\1/p' "$table" | while IFS= read -r row; do
    grep -qxF -- "$row" <<<"$marks" || echo "docs/memory-ordering.md: $row: no order($row) in the code"
  done
}

order_marks() {
  local room
  for room in shm src; do
    if [ -d "$1/$room" ]; then
      { grep -rhoE --include='*.hpp' --include='*.cpp' '// order\([^)]*\)' "$1/$room" || true; }
    fi
  done | sed -E 's|// order\((.*)\)|\1|' | sort -u
}

quote() { sed 's/[][\.*^$|(){}+?]/\\&/g' <<<"$1"; }

# The pattern is put together here so that this file does not match itself.
machine_paths() {
  local pattern='(^|[^[:alnum:]_./-])/(wo''rk|ho''me|ro''ot)/[[:alnum:]_.-]'
  (cd "$1" && grep -rnIE --exclude-dir=build --exclude-dir=.git --exclude=.git --exclude-dir=.cache "$pattern" . || true) |
    sed -E 's|^\./([^:]*:[0-9]+):.*|\1: a path of one machine|'
}

check_tree() {
  local faults
  faults=$(
    headers_without_pragma_once "$1"
    files_that_hide_a_second_noun "$1"
    headers_nobody_includes "$1"
    order_marks_without_a_row "$1"
    order_rows_without_a_mark "$1"
    machine_paths "$1"
  )
  [ -z "$faults" ] || { echo "$faults"; return 1; }
}

# Each planted fault must be refused, and the same tree without it accepted.
self_check() {
  local tree rc=0
  tree=$(mktemp -d)
  trap 'rm -rf "$tree"' RETURN
  mkdir -p "$tree"/{include/stem,src/base,shm,docs}
  sound_tree "$tree"
  if ! check_tree "$tree"; then
    echo "self-check: a sound tree was refused"
    rc=1
  fi
  local fault phrase found
  while IFS='|' read -r fault phrase; do
    "plant_$fault" "$tree"
    if found=$(check_tree "$tree") || [[ $(wc -l <<<"$found") -ne 1 || $found != *"$phrase"* ]]; then
      echo "self-check: $fault: expected one line with '$phrase', got: ${found:-nothing}"
      rc=1
    fi
    rm -f "$tree"/*/planted.* "$tree"/src/base/planted.*
    sound_tree "$tree"
  done <<'FAULTS'
no_pragma_once|include/planted.hpp: no #pragma once
too_long|shm/planted.cpp: 701 lines
nobody_includes|src/base/planted.hpp: nothing includes it
mark_without_row|order(ring.other)
row_without_mark|ring.gone: no order
machine_path|docs/planted.md:1: a path of one machine
FAULTS
  return $rc
}

sound_tree() {
  printf '#pragma once\n' >"$1/shm/ring.hpp"
  printf '#include "shm/ring.hpp"\n// order(ring.publish): release\n' >"$1/shm/ring.cpp"
  printf '| name | sites |\n|---|---|\n| `ring.publish` | both |\n' >"$1/docs/memory-ordering.md"
}
plant_no_pragma_once() { printf '// "ring.hpp"\n' >"$1/include/planted.hpp"; }
plant_too_long() { seq -f '// line %g' $((max_lines + 1)) >"$1/shm/planted.cpp"; }
plant_nobody_includes() { printf '#pragma once\n' >"$1/src/base/planted.hpp"; }
plant_mark_without_row() { printf '// order(ring.other): acquire\n' >"$1/shm/planted.cpp"; }
plant_row_without_mark() { printf '| `ring.gone` | none |\n' >>"$1/docs/memory-ordering.md"; }
plant_machine_path() { printf 'see /%s/somebody/file\n' 'ho''me' >"$1/docs/planted.md"; }

case "${1-}" in
  --self-check) self_check ;;
  '' | -*) echo "usage: tidy.sh ROOT | --self-check" >&2; exit 2 ;;
  *) check_tree "$1" ;;
esac
