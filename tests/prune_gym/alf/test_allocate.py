"""Numbers of codes: energies in closed form; the greedy selection agrees with brute force."""

import itertools

import numpy as np
import pytest
import torch

from prune_gym.alf.allocate import output_energies, select_codes

pytestmark = pytest.mark.float


def test_energies_of_known_outputs():
    generator = torch.Generator().manual_seed(0)
    basis, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    # Orthogonal columns with zero mean and squares 9, 4 and 0.
    columns = torch.tensor([[3.0, 2, 0], [-3, 2, 0], [3, -2, 0], [-3, -2, 0]]).double()
    outputs = columns @ basis + 5.0
    assert output_energies(outputs) == pytest.approx([0, 9 / 13, 1, 1])


def test_rank_of_outputs_is_where_energy_is_whole():
    outputs = torch.randn(50, 2) @ torch.randn(2, 6)
    energies = output_energies(outputs)
    assert energies.shape == (7,)
    assert (np.diff(energies) >= -1e-12).all()
    assert energies[1] < 1 - 1e-6
    assert energies[2] == pytest.approx(1)


def test_outputs_that_never_change():
    assert output_energies(torch.ones(4, 2)) == pytest.approx([0, 0.5, 1])


COUNTS = {"a": [1, 2, 4], "b": [1, 3, 8]}
ENERGIES = {
    "a": np.array([0, 0.3, 0.6, 0.9, 1.0]),
    "b": np.array([0, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.999, 1.0]),
}


def excess(wanted):
    return lambda counts: {"macs": (counts["a"] + counts["b"]) / wanted}


def test_the_layer_that_needs_them_keeps_its_codes():
    assert select_codes(ENERGIES, COUNTS, excess(12)) == {"a": 4, "b": 8}
    assert select_codes(ENERGIES, COUNTS, excess(7)) == {"a": 4, "b": 3}
    assert select_codes(ENERGIES, COUNTS, excess(5)) == {"a": 4, "b": 1}
    assert select_codes(ENERGIES, COUNTS, excess(2)) == {"a": 1, "b": 1}


@pytest.mark.parametrize("wanted", [2, 3, 5, 7, 9, 11])
def test_close_to_the_best_of_all(wanted):
    chosen = select_codes(ENERGIES, COUNTS, excess(wanted))

    def product(counts):
        return np.prod([ENERGIES[name][count] for name, count in counts.items()])

    every = (
        dict(zip(COUNTS, counts, strict=True)) for counts in itertools.product(*COUNTS.values())
    )
    best = max(product(counts) for counts in every if sum(counts.values()) <= wanted)
    assert sum(chosen.values()) <= wanted
    assert product(chosen) >= 0.66 * best


def test_two_costs_are_both_met_and_none_is_told():
    def both(counts):
        return {"macs": counts["a"] / 2, "params": counts["b"] / 3}

    assert select_codes(ENERGIES, COUNTS, both) == {"a": 2, "b": 3}
    assert select_codes(ENERGIES, COUNTS, excess(1)) is None
    # If no choice reduces the cost, no codes are removed.
    assert select_codes(ENERGIES, COUNTS, lambda counts: {"latency": 2.0}) is None
