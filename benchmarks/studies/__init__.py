"""Measurements and tables behind the documentation, each `python -m benchmarks.studies.NAME`."""
