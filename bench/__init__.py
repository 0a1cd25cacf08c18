"""Benchmarks: Noctis beside other receivers, in one run on one machine (docs/performance.md)."""
