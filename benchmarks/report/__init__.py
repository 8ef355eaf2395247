"""The report: runs in, one page and its figures out."""

from benchmarks.report.page import write_report

__all__ = ["write_report"]
