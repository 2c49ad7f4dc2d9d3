"""Benchmarks. They print ratios taken within one run; nothing here passes or fails by a time."""
