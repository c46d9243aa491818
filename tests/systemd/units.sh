#!/usr/bin/env bash
# The systemd units: accepted by systemd without a word, hardened, and with commands and settings that exist.
#
#   units.sh BUILD_DIR SOURCE_DIR
set -euo pipefail
build=$(cd "$1" && pwd) source=$(cd "$2" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
faults=0
fault() { echo "$*"; faults=$((faults + 1)); }

# systemd looks for "stem" in directories of its own; here it is the one of the build.
count=0
for unit in "$source"/tools/systemd/*.service; do
  name=$(basename "$unit")
  sed "s|^ExecStart=stem |ExecStart=$build/bin/stem |" "$unit" >"$work/${name/@./@one.}"
  count=$((count + 1))
done
[ "$count" -ge 3 ] || fault "only $count units"

for unit in "$work"/*.service; do
  name=$(basename "$unit")
  said=$(systemd-analyze verify --man=no "$unit" 2>&1) || fault "$name: $said"
  # What is said of other units of this machine is not ours.
  said=$(grep -F "$name" <<<"$said" || true)
  [ -z "$said" ] || fault "$name: $said"
  exposure=$(systemd-analyze security --offline=yes --no-pager "$unit" 2>/dev/null |
    sed -nE 's/.*Overall exposure level[^:]*: ([0-9.]+).*/\1/p')
  echo "$name: exposure $exposure"
  awk -v e="${exposure:-10}" 'BEGIN {exit !(e <= 3.0)}' || fault "$name: exposure $exposure"

  # The command must exist, and so must the flags that the unit gives itself.
  read -r -a words <<<"$(sed -n 's/^ExecStart=[^ ]* //p' "$unit")"
  command=() flags=()
  for word in "${words[@]}"; do
    case $word in
      --*) flags+=("$word") ;;
      \$* | %*) ;;
      *) command+=("$word") ;;
    esac
  done
  help=$("$build/bin/stem" "${command[@]}" --help 2>&1) || fault "$name: no command ${command[*]}"
  for flag in "${flags[@]}"; do grep -q -- " $flag " <<<"$help" || fault "$name: no flag $flag"; done
  for forbidden in DynamicUser=yes RemoveIPC=yes ProcSubset=pid 'InaccessiblePaths=.*/dev/shm' 'TemporaryFileSystem=.*/dev'; do
    ! grep -qE "^$forbidden" "$unit" || fault "$name: $forbidden takes the segment away"
  done
done
systemd-sysusers --dry-run --root="$work" "$source/tools/systemd/stem.sysusers" >"$work/users" 2>&1 ||
  fault "sysusers: $(cat "$work/users")"
for script in postinst prerm postrm; do
  sh -n "$source/tools/systemd/$script" || fault "$script is no shell script"
done
echo "$faults faults"
[ "$faults" -eq 0 ]
