#!/usr/bin/env bash
# The manual pages as man(1) takes them: no warning, a NAME that apropos can read, and everything that --help has.
#
#   pages.sh BUILD_DIR
set -euo pipefail
build=$1
stem=$build/bin/stem
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export LC_ALL=C.UTF-8 MANROFFOPT=-rHY=0 NO_COLOR=1
faults=0
fault() { echo "$*"; faults=$((faults + 1)); }

pages=0
for page in "$build"/man/man1/*.1; do
  pages=$((pages + 1))
  name=$(basename "$page" .1)
  said=$(man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null)
  [ -z "$said" ] || fault "$name: $said"
  lexgrog "$page" >"$work/name" || fault "$name: no NAME that apropos can read"
  MANWIDTH=1000 man -l "$page" | col -b >"$work/$name.txt"
done

# Every command, and every flag of it, must be found where a person looks for it.
words() { "$stem" completion next -- "$@" '' | cut -f1; }
commands=0
check_command() {
  local page=$work/stem-$1.txt flag
  commands=$((commands + 1))
  [ -e "$page" ] || { fault "stem $*: no page stem-$1.1"; return; }
  grep -qF "stem $*" "$page" || fault "stem-$1.1: 'stem $*' is missing"
  for flag in $("$stem" "$@" --help | grep -oE '^ +(-[a-z], +)?--[a-z-]+' | grep -oE -- '--[a-z-]+' | sort -u); do
    grep -qF -- "$flag" "$page" || fault "stem-$1.1: $flag of 'stem $*' is missing"
  done
}
for first in $(words); do
  if "$stem" "$first" --help | grep -q "^usage: stem $first COMMAND"; then
    for second in $(words "$first"); do check_command "$first" "$second"; done
  else
    check_command "$first"
  fi
  grep -q "stem-$first(1)" "$work/stem.txt" || fault "stem.1 does not name stem-$first"
done
[ "$pages" -ge 15 ] && [ "$commands" -ge 40 ] || fault "only $pages pages, $commands commands"
grep -q 'STEM_NAMESPACE' "$work/stem.txt" || fault "stem.1 has no environment"

for shell in bash zsh; do
  file=$build/completions/stem
  [ $shell = bash ] || file=$build/completions/_stem
  $shell -n "$file" || fault "$file: not $shell"
done
fish --no-execute "$build/completions/stem.fish" || fault "stem.fish: not fish"
echo "$pages pages, $commands commands, $faults faults"
[ "$faults" -eq 0 ]
