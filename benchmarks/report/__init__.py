"""The results page of many runs, and its figures."""

from benchmarks.report.page import write_report

__all__ = ["write_report"]
