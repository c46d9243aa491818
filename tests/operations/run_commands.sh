#!/bin/bash
# Runs every command of the guides (blocks ```sh and ```sh redis of docs/operations/*.md) on a real worker, with a
# task that runs, one that waits and dead letters there. A command that fails, or is not known, fails the test.
#   run_commands.sh STEM DOCS [REDIS-SERVER]
set -euo pipefail
stem=$(realpath "$1") docs=$(realpath "$2")
scratch=$(mktemp -d /dev/shm/stem-operations-XXXXXX)
processes=()
cleanup() {
  stem worker shutdown --mode hard > /dev/null 2>&1 || true  # or its process finishes what it runs, and takes its time
  for pid in "${processes[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
  rm -rf "$scratch"
}
trap cleanup EXIT

export STEM_SHM_DIRECTORY=$scratch STEM_LOG=error PATH="$(dirname "$stem"):$PATH"
cd "$scratch"

redis-server --port 0 --unixsocket "$scratch/redis.sock" --save '' --appendonly yes --dir "$scratch" \
  --maxmemory-policy noeviction > redis.log & processes+=($!)
export REDIS="unix://$scratch/redis.sock"

stem worker start --node alpha -c 1 --pin none -q mail \
  --exec 'slow=sleep 600' --exec 'bad=echo out of order >&2; exit 3' > worker.log & processes+=($!)
until grep -q '^ready' worker.log; do sleep 0.05; done
until [ -S redis.sock ]; do sleep 0.05; done

# Three of them die, before the one that runs takes the only process.
dead=()
for _ in 1 2 3; do dead+=("$(stem enqueue bad -q mail --max-retries 0)"); done
for id in "${dead[@]}"; do stem task wait "$id" --timeout 60s > /dev/null || true; done
export DEAD=${dead[0]}
running=$(stem enqueue slow -q mail)
until stem task show "$running" | grep -q running; do sleep 0.05; done
ID=$(stem enqueue slow -q mail)
export ID

ran=0 failed=0
# A page may use up what another needs: dead letters come anew for each.
for page in "$docs"/*.md; do
  block=""
  while IFS= read -r line; do
    case "$line" in
      '```sh' | '```sh redis') block=1; continue ;;
      '```'*) block=""; continue ;;
    esac
    [ -n "$block" ] && [ -n "$line" ] || continue
    ran=$((ran + 1))
    if ! timeout 60 bash -c "$line" > out.log 2>&1 < /dev/null; then
      failed=$((failed + 1))
      echo "$(basename "$page"): $line"
      sed 's/^/    /' out.log
    fi
  done < "$page"
done
echo "$ran commands, $failed failed"
[ "$ran" -ge 40 ] && [ "$failed" -eq 0 ]
