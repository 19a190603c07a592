#!/usr/bin/env bash
# /metrics, read by promtool and scraped by a real Prometheus.
. "$(dirname "$0")/lib.sh"
need promtool prometheus
need prometheus prometheus
python3 "$ROOT/tests/system/metrics.py"
