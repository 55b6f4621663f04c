#!/usr/bin/env bash
# Runs every test of the workspace; the last line is the sum over all of them: N passed, N failed, N skipped.
set -euo pipefail

# The namespace tests call the programs as a user would.
cargo build --workspace --bins

log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
cargo test --workspace --no-fail-fast "$@" 2>&1 | tee "$log" || status=$?

echo
grep -h ' \.\.\. SKIPPED ' "$log" || true
grep -hE '^test .* \.\.\. FAILED' "$log" || true
awk '/^test result:/ { passed += $4; failed += $6; skipped += $8 }
     END { printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped }' "$log"
exit "$status"
