"""ALF beside the paper's figures: ``python -m benchmarks.studies.alf``."""
