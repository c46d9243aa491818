#!/bin/bash
# Runs one of the examples as its first lines say, and looks at what it prints.
#   run.sh BIN SOURCES hello|hash_files|http_proxy|python
set -euo pipefail
bin=$(realpath "$1") sources=$(realpath "$2") example=$3
scratch=$(mktemp -d /dev/shm/stem-examples-XXXXXX)
worker=
cleanup() {
  [ -z "$worker" ] || kill -TERM "$worker" 2>/dev/null && wait "$worker" 2>/dev/null || true
  rm -rf "$scratch"
}
trap cleanup EXIT
export STEM_SHM_DIRECTORY=$scratch STEM_LOG=error

case $example in
  hello)
    "$bin/example_hello_worker" -c 2 --pin none > "$scratch/worker" & worker=$!
    [ "$("$bin/example_hello_producer" reader)" = "Hello, reader!" ]
    ;;
  hash_files)
    diff <("$bin/example_hash_files" "$sources/src" | sort) <(find "$sources/src" -type f -exec sha256sum {} + | sort)
    ;;
  http_proxy)
    "$bin/example_http_proxy" 300 | tee "$scratch/said"
    grep -q '^300 calls, 300 right' "$scratch/said"
    ;;
  python)
    python3 -B "$sources/examples/python/worker.py" > "$scratch/worker" & worker=$!
    diff <(python3 -B "$sources/examples/python/producer.py") - <<'SAID'
{'attempt': 0, 'words': 6}
worked
SAID
    ;;
  *) echo "no example $example" >&2; exit 2 ;;
esac
