#!/usr/bin/env bash
# canary.sh PROGRAM FILTER PHRASE: these tests of a program with one rule taken out must fail, saying PHRASE.
set -euo pipefail
# Every change: what only one instruction in a hundred would show is missed by a sample.
if said=$(STEM_EVERY_INSTRUCTION=full "$1" --gtest_filter="$2" 2>&1); then
  echo "$said"
  echo "nobody noticed: $1 $2"
  exit 1
elif ! grep -q 'tests, listed below\|test, listed below' <<<"$said" || ! grep -qF -- "$3" <<<"$said"; then
  echo "$said"
  echo "it failed, but not with '$3'"
  exit 1
fi
grep -F -m1 -- "$3" <<<"$said"
