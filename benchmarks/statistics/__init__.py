"""Statistics of few runs on few tasks: seeded, on numpy alone."""

from benchmarks.statistics.aggregate import (
    Interval,
    Strata,
    bootstrap_interval,
    iqm,
    performance_profile,
    probability_of_improvement,
)
from benchmarks.statistics.efficiency import aggregate_curves, best_so_far, common_grid
from benchmarks.statistics.pareto import hypervolume, pareto_front

__all__ = [
    "Interval",
    "Strata",
    "aggregate_curves",
    "best_so_far",
    "bootstrap_interval",
    "common_grid",
    "hypervolume",
    "iqm",
    "pareto_front",
    "performance_profile",
    "probability_of_improvement",
]
