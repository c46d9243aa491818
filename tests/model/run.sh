#!/usr/bin/env bash
# Checks the model exhaustively within bounds, and that each rule that is left out is noticed.
#
#   run.sh           small bounds, seconds
#   run.sh --full [MINUTES]
#                    what can be searched to its end (a quarter of an hour, 2 GB); then everything at once: 2 producers and
#                    2 workers at the same time, two kills, a lease lost, the recoverer killed. That is more than can be
#                    searched, so it is looked at for MINUTES (10) in each of two forms, in random order
set -euo pipefail
model=$(cd "$(dirname "$0")" && pwd)/claim_first.pml
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
minutes=${2-10}

# check NAME EXPECTED SPIN-FLAGS [C-FLAGS [PAN-FLAGS]]; EXPECTED is ok, fault, or "ok so far": the time was over.
check() {
  local name=$1 expected=$2 spin_flags=$3 c_flags=${4:--DSAFETY} pan_flags=${5:--E} said found
  # shellcheck disable=SC2086
  spin $spin_flags -a "$model" >spin.txt || { cat spin.txt; return 1; }
  # shellcheck disable=SC2086
  gcc -O1 -w -DMEMLIM=2000 $c_flags -o pan pan.c
  # shellcheck disable=SC2086
  said=$(./pan -m1000000 $pan_flags 2>&1) || true
  found=ok
  grep -q 'errors: 0' <<<"$said" || found=fault
  if grep -q 'Time limit of' <<<"$said" && [ "$found" = ok ]; then found="ok so far"; fi
  if grep -qE 'max search depth too small|reached -DMEMLIM|out of memory' <<<"$said"; then found="not finished"; fi
  echo "$name: $found ($(sed -nE 's/^ *([0-9.e+]+) states, stored.*/\1 states/p' <<<"$said" | head -1))"
  if [ "$found" != "$expected" ]; then
    echo "$said"
    return 1
  fi
}

small="-DSERIAL=1 -DKILLS=1 -DEXPIRIES=1 -DCRASHES=0 -DEARLY=0"
case "${1-}" in
  '')
    check "a lost lease" ok "-DSERIAL=1 -DKILLS=0 -DEXPIRIES=1 -DCRASHES=0 -DEARLY=0"
    check "two producers at once, a kill" ok "-DKILLS=1 -DEXPIRIES=0 -DCRASHES=0 -DEARLY=0"
    check "a kill, the recoverer killed, and nobody goes in circles" ok "-DSERIAL=1 -DKILLS=1 -DEXPIRIES=0 -DCRASHES=1 -DEARLY=0" -DNP "-l -E"
    check "left out: the grant in an acknowledgement" fault "$small -DCANARY=1"
    check "left out: the second look at the word" fault "$small -DCANARY=2"
    check "left out: the patrol" fault "$small -DCANARY=3"
    check "left out: slots that were being filled" fault "$small -DCANARY=4"
    ;;
  --full)
    check "a kill and a lost lease" ok "$small"
    check "one worker, kills, the recoverer killed, an early patrol" ok "-DWORKERS=1 -DKILLS=1 -DEXPIRIES=0"
    check "everything, one producer after the other, $minutes minutes" "ok so far" "-DSERIAL=1" \
      "-DSAFETY -DBITSTATE -DP_RAND -DT_RAND" "-E -w32 -k3 -RS1 -Q$minutes"
    check "everything at once, $minutes minutes" "ok so far" "-DKILLS=2" \
      "-DSAFETY -DBITSTATE -DP_RAND -DT_RAND" "-E -w33 -k3 -RS1 -Q$minutes"
    ;;
  *)
    echo "usage: run.sh [--full]" >&2
    exit 2
    ;;
esac
