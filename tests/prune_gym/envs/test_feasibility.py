"""Reachable networks agree with an enumeration of all networks."""

import functools
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import hw_sim
from prune_gym.costs import CostModel
from prune_gym.envs.config import EnvConfig
from prune_gym.envs.feasibility import Completions, legal_counts
from prune_gym.envs.target import Target
from prune_gym.errors import TargetError
from prune_gym.pruning import ChannelSpace, Geometry
from tests.tiny import tiny_network, tiny_residual

# On the last platform, more channels sometimes reduce the latency.
PLATFORMS = (("eyeriss", "latency", 1), ("eyeriss_256", "latency", 1), ("simba_pe", "energy", 4))


def target_of(wanted, model, visited, accuracy, **rules):
    """A target with the given rules."""
    return Target(EnvConfig(target=wanted, **rules), model, visited, accuracy)


class Blocks(nn.Module):
    """Two residual blocks on one trunk; their inner spaces share no layer."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, padding=1)
        self.a1, self.a2 = nn.Conv2d(32, 4, 3, padding=1), nn.Conv2d(4, 32, 3, padding=1)
        self.b1, self.b2 = nn.Conv2d(32, 4, 3, padding=1), nn.Conv2d(4, 32, 3, padding=1)
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        x = self.stem(x).relu()
        x = x + self.a2(self.a1(x).relu())
        x = x + self.b2(self.b1(x).relu())
        return self.head(x.mean((2, 3)))


INNER = (ChannelSpace("a", 4, ("a1",), ("a2",)), ChannelSpace("b", 4, ("b1",), ("b2",)))
TRUNK = ChannelSpace("trunk", 32, ("stem", "a2", "b2"), ("a1", "b1", "head"))

KINDS = ("chained", "inner", "all", "tied")


@functools.cache
def cost_model(kind, platform):
    """Cost model and visited spaces."""
    accelerator, objective, batch = platform
    if kind in ("chained", "tied"):
        network = tiny_network() if kind == "chained" else tiny_residual()
        spaces, module, shape = network.spaces, network.module, network.input_shape
        visited = spaces
    else:
        module, spaces, shape = Blocks(), (TRUNK, *INNER), (3, 16, 16)
        visited = INNER if kind == "inner" else spaces
    return CostModel(Geometry(module, spaces, shape), accelerator, objective, batch), visited


@functools.cache
def figures(kind, platform, names):
    """Costs of all networks relative to the unpruned network."""
    model, visited = cost_model(kind, platform)
    full = model.of()
    table = {}
    for counts in itertools.product(*(range(1, space.channels + 1) for space in visited)):
        named = {space.name: count for space, count in zip(visited, counts, strict=True)}
        costs = model.of(named)
        table[counts] = tuple(costs.of(name) / full.of(name) for name in names)
    return table


def brute(kind, platform, wanted, legal):
    """Counts of all legal networks that meet a target."""
    names = tuple(wanted)
    return [
        counts
        for counts, shares in figures(kind, platform, names).items()
        if all(count in allowed for count, allowed in zip(counts, legal, strict=True))
        and all(share <= wanted[name] for share, name in zip(shares, names, strict=True))
    ]


def is_completion(target, counts, start):
    """Whether a network leaves the spaces from a place on their reserve, or is the uniform one."""
    found = target._completions
    rest = zip(counts[start:], found.searched[start:], strict=True)
    return counts == found.uniform or all(count >= searched[0] for count, searched in rest)


targets = st.dictionaries(
    st.sampled_from(["macs", "params", "latency", "energy", "edp"]),
    st.floats(0.02, 1.0),
    min_size=1,
    max_size=2,
)


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    platform=st.sampled_from(PLATFORMS),
    wanted=targets,
    min_keep=st.integers(1, 3),
    round_to=st.integers(1, 3),
    backward=st.booleans(),
    data=st.data(),
)
def test_random_counts_meet_the_target(kind, platform, wanted, min_keep, round_to, backward, data):
    model, visited = cost_model(kind, platform)
    forward_legal = [legal_counts(space.channels, min_keep, round_to) for space in visited]
    good = brute(kind, platform, wanted, forward_legal)
    by_counting = set(wanted) <= {"macs", "params"}
    exact = by_counting or (kind == "inner" and len(wanted) == 1 and "edp" not in wanted)
    order = -1 if backward else 1
    try:
        target = target_of(
            wanted, model, visited[::order], 0.9, min_keep=min_keep, round_to=round_to
        )
    except TargetError:
        assert not (exact and good)
        return
    legal, good = forward_legal[::order], {counts[::order] for counts in good}
    assert good
    before = ()
    for place, counts in enumerate(legal):
        asked = data.draw(st.sampled_from(counts))
        follow = [other for other in good if other[:place] == before]
        chosen = target.allowed(before, asked)
        assert chosen in {other[place] for other in follow}
        if exact:
            open_ = {other[place] for other in follow if is_completion(target, other, place + 1)}
            below = [count for count in open_ if count <= asked]
            assert chosen == (max(below) if below else min(open_))
        before = (*before, chosen)
    assert before in good


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("name", ["macs", "params", "latency", "energy", "edp"])
def test_the_best_figure_is_named_and_can_be_reached(kind, platform, name):
    model, visited = cost_model(kind, platform)
    best = min(figures(kind, platform, (name,)).values())[0]
    with pytest.raises(TargetError, match="the least within reach is") as caught:
        target_of({name: best - 1e-6}, model, visited, 0.9)
    named = float(str(caught.value).split(f"is {name}=")[1].split(" ")[0])
    assert best <= named < best + 1.01e-4
    assert target_of({name: named}, model, visited, 0.9).met(model.of(), 0.9) == (named == 1)


def test_costs_that_exclude_each_other_are_refused():
    """On this platform, latency is lowest at 3 + 3 channels and energy at 1 + 1."""
    model, visited = cost_model("inner", PLATFORMS[2])
    assert target_of({"latency": 0.97}, model, visited, 0.9)
    assert target_of({"energy": 0.76}, model, visited, 0.9)
    with pytest.raises(
        TargetError, match="each limit can be met alone, but the nearest network has latency="
    ):
        target_of({"latency": 0.97, "energy": 0.76}, model, visited, 0.9)


def test_a_count_is_raised_if_only_more_channels_are_fast_enough():
    model, visited = cost_model("inner", PLATFORMS[2])
    target = target_of({"latency": 0.97}, model, visited, 0.9)
    assert target.allowed((), 1) == target.allowed((3,), 1) == 3
    assert target.allowed((), 4) == 3


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    platform=st.sampled_from(PLATFORMS),
    wanted=targets,
    round_to=st.integers(1, 3),
)
def test_the_uniform_ratio_is_the_largest_and_never_clipped(kind, platform, wanted, round_to):
    model, visited = cost_model(kind, platform)
    try:
        target = target_of(wanted, model, visited, 0.9, round_to=round_to)
    except TargetError:
        return
    legal = [legal_counts(space.channels, 1, round_to) for space in visited]
    good = set(brute(kind, platform, wanted, legal))

    def counts_at(ratio):
        asked = (max(1, round(ratio * counts[-1])) for counts in legal)
        return tuple(
            next(count for count in counts if count >= wish)
            for counts, wish in zip(legal, asked, strict=True)
        )

    ratio = target.uniform_ratio()
    grid = [step / 997 for step in range(1, 998)]
    met = [other for other in grid if counts_at(other) in good]
    if not met:
        return
    counts = counts_at(ratio)
    assert counts in good
    assert all(counts_at(other) == counts for other in met if other > ratio)
    for place, count in enumerate(counts):
        assert target.allowed(counts[:place], count) == count


def test_a_uniform_cut_is_not_clipped_if_the_leanest_rest_is_too_slow():
    """On this platform, 3 inner channels after 22 trunk channels take less time than 1."""
    model, visited = cost_model("all", PLATFORMS[2])
    target = target_of({"latency": 0.75}, model, visited, 0.9)
    counts = tuple(round(target.uniform_ratio() * space.channels) for space in visited)
    assert counts[1:] == (3, 3)
    named = {space.name: count for space, count in zip(visited, counts, strict=True)}
    rest = named | {"a": 1, "b": 1}
    assert model.of(named).latency_ms <= 0.75 * model.of().latency_ms < model.of(rest).latency_ms
    for place, count in enumerate(counts):
        assert target.allowed(counts[:place], count) == count


def test_a_completion_depends_only_on_the_counts():
    """A snapshot therefore continues in the same way in another environment."""
    model, visited = cost_model("all", PLATFORMS[1])
    one, two = (Completions({"latency": 0.3, "energy": 0.3}, model, visited, 1, 1) for _ in "ab")
    before = tuple(counts[0] for counts in one.legal[:2])
    for length in range(3):
        one.completion(before[:length])
    assert one.completion(before) == two.completion(before)


@pytest.mark.parametrize("kind", ["chained", "all", "tied"])
@pytest.mark.parametrize("accelerator", hw_sim.presets())
def test_no_target_that_a_network_meets_is_refused(kind, accelerator):
    """Coordinate descent over spaces that share layers might end too early."""
    names = ("latency", "energy")
    for objective, batch in itertools.product(names, (1, 4)):
        platform = accelerator, objective, batch
        model, visited = cost_model(kind, platform)
        reached = figures(kind, platform, names)
        # The least of each, the least of both, and a few networks on the way to them.
        weights = (0, 0.25, 0.5, 0.75, 1)
        for weight in weights:
            latency, energy = min(
                reached.values(), key=lambda cost: (1 - weight) * cost[0] + weight * cost[1]
            )
            for limits in ({"latency": latency}, {"energy": energy}):
                assert target_of(limits, model, visited, 0.9)
            assert target_of({"latency": latency, "energy": energy}, model, visited, 0.9)
