"""ALF compared with the paper's numbers: ``python -m benchmarks.studies.alf``."""
