"""Measurements and tables of the documentation, each `python -m benchmarks.studies.NAME`."""
