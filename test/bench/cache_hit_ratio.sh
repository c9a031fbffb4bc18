#!/usr/bin/env bash
# cache_hit_ratio.sh [BYTES [ROW]]: replays key traces against the row cache and against LRU, FIFO, the S3-FIFO paper's
# algorithm and Belady's optimum, and prints hit ratios. Fails if the row cache is more than a percentage point below
# S3-FIFO anywhere, or not above LRU where there are scans. No server.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
make --no-print-directory -s -j "$(nproc)" build/bin/cache-sim
exec build/bin/cache-sim "$@"
