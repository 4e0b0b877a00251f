"""Measurements: each module offers `rows()`; `make bench` runs them all and writes results.json."""
