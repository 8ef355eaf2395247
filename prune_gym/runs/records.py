"""What a run observed, as its files hold it; what follows from it is computed on reading.

``config.json`` is a :class:`Setup`, each line of ``episodes.jsonl`` an :class:`Episode`, and
``best/report.json`` a :class:`Report`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from prune_gym.costs import Costs, StepCosts
from prune_gym.envs.config import ACCURACY, EnvConfig
from prune_gym.envs.reward import RewardFunction, make_reward
from prune_gym.jsonfile import Amount, Count, JsonRecord, Share, Whole
from prune_gym.pruning.finished import BlockRecord
from prune_gym.runs.compute import Compute
from prune_gym.runs.config import RunConfig

SCHEMA = 3
"""Version of the file format."""


@dataclass(frozen=True)
class TargetReport:
    """How a network compares with the run's target.

    Args:
        wanted: Largest share of each wanted cost; for ``accuracy`` the largest drop.
        reached: The network's own values of the same names.
    """

    wanted: Mapping[str, float]
    reached: Mapping[str, float]

    @property
    def met(self) -> bool:
        """Whether the network meets all of the target; True without one."""
        return all(self.reached[name] <= value for name, value in self.wanted.items())

    def lines(self) -> list[str]:
        """One line of text for each wanted value."""
        result = []
        for name, wanted in self.wanted.items():
            label, reached = f"target {name}{' drop' * (name == ACCURACY)}", self.reached[name]
            verdict = "met" if reached <= wanted else "NOT met"
            result.append(f"{label:<22}{f'<= {wanted:g}':>12}{reached:>12.4f}  {verdict}")
        return result


@dataclass(frozen=True)
class Setup(JsonRecord):
    """What a run was started with: its configuration, the unpruned network, the machine.

    Args:
        config: Configuration of the run with all options of its agent, without its folder.
        accuracy: Accuracy of the unpruned network on the validation subset, 0 to 1.
        costs: Costs of the unpruned network.
        channels: Number of channels of each space of the unpruned network.
        hashes: SHA-256 of the ``weights``, the ``dataset`` and the ``accelerator``.
        env_revision: ``ENV_REVISION`` of the environment.
        threads: Number of torch threads.
        versions: Versions of Python and of the packages that results depend on.
        machine: Kind of the machine.
        started: Time of the start, UTC.
        surrogate: SHA-256 of the surrogate of the warm start, or None.
    """

    SCHEMA = SCHEMA

    config: RunConfig
    accuracy: Share
    costs: Costs
    channels: Mapping[str, Whole]
    hashes: Mapping[str, str]
    env_revision: Count
    threads: Whole
    versions: Mapping[str, str]
    machine: Mapping[str, Any]
    started: str
    surrogate: str | None = None

    def __post_init__(self) -> None:
        if set(self.hashes) != {"weights", "dataset", "accelerator"}:
            raise ValueError("expected hashes of weights, dataset and accelerator")

    @cached_property
    def environment(self) -> EnvConfig:
        """All arguments of the environment, defaults included."""
        return self.config.environment()

    @property
    def wanted(self) -> dict[str, float]:
        """The target: for each cost the largest share, for ``accuracy`` the largest drop."""
        return self.environment.wanted

    @cached_property
    def _reward(self) -> RewardFunction:
        return make_reward(self.environment, self.accuracy, self.costs)

    def psi(self, accuracy: float) -> float:
        """The reward's accuracy term, -1 to 1; at least 0 within the tolerance."""
        return self._reward.psi(accuracy)

    def ratio(self, costs: StepCosts, objective: str | None = None) -> float:
        """The unpruned network's cost over a network's.

        Args:
            costs: Costs of the network.
            objective: One of :data:`prune_gym.costs.OBJECTIVES`; the run's own by default.
        """
        name = objective or self._reward.objective
        return self.costs.of(name) / costs.of(name)

    def score(self, accuracy: float, costs: StepCosts) -> float:
        """The value of a network, as ``info["score"]`` reports it."""
        return self._reward.score(accuracy, self.ratio(costs))

    def target(self, accuracy: float, costs: StepCosts) -> TargetReport:
        """How a network with this accuracy on the validation subset compares with the target."""
        return self._target(self.accuracy - accuracy, costs)

    def _target(self, drop: float, costs: StepCosts) -> TargetReport:
        # A drop from 0.92 to 0.9 is 0.02, whatever floats make of the difference.
        reached = {
            name: round(drop, 12) if name == ACCURACY else costs.of(name) / self.costs.of(name)
            for name in self.wanted
        }
        return TargetReport(self.wanted, reached)

    def rank(self, accuracy: float, costs: StepCosts) -> tuple[bool, float]:
        """The value by which the best network of a run is chosen; the larger, the better.

        Without a target it is the score. Among networks that meet the wanted costs it is the
        accuracy. If only an accuracy is wanted, it is the score among networks that meet it, and
        the accuracy among those that miss it.
        """
        met = self.target(accuracy, costs).met
        by_accuracy = not met or any(name != ACCURACY for name in self.wanted)
        return met, accuracy if by_accuracy else self.score(accuracy, costs)


@dataclass(frozen=True)
class Step(JsonRecord):
    """One step of an episode.

    Args:
        space: Name of the visited space.
        kept: Numbers of the kept filters, as they were executed.
        mask_changed: Whether the executed filters differ from those that the agent chose.
        duration: Duration of the fine-tuning, 0 to 1.
        batches: Mini-batches of the fine-tuning.
        accuracy: Accuracy after the step on the validation subset, 0 to 1.
        costs: Costs after the step.
        seed: Seed of the step's random numbers; None if an agent trained the whole network.
        block: Block of the ALF mode; there, ``kept`` are the codes.
    """

    space: str
    kept: tuple[Count, ...]
    mask_changed: bool
    duration: Share
    batches: Count
    accuracy: Share
    costs: StepCosts
    seed: Count | None = None
    block: BlockRecord | None = None


@dataclass(frozen=True)
class Episode(JsonRecord):
    """One episode of a search.

    Args:
        number: Number of the episode, from 0.
        complete: Whether the last space was reached.
        accuracy: Accuracy of the last network on the validation subset, 0 to 1.
        costs: Costs of the last network.
        search_macs: MACs of the steps, without those of tried candidates.
        search_macs_total: MACs of the search up to the end of the episode.
        trials: Steps of the search up to then, tried candidates included.
        wall_seconds: Seconds of the search up to then.
        device_seconds: Seconds of the CPU (of all threads) or of another device.
        steps: The steps; benchmark records leave those of most episodes out.
    """

    number: Count
    complete: bool
    accuracy: Share
    costs: StepCosts
    search_macs: Count
    search_macs_total: Count
    trials: Count
    wall_seconds: Amount
    device_seconds: Amount
    steps: tuple[Step, ...] = ()


def best_so_far(setup: Setup, episodes: Iterable[Episode]) -> list[bool]:
    """Whether each episode's network was the best of the run at its time; all in order."""
    best: tuple[bool, float] | None = None
    result = []
    for episode in episodes:
        rank = setup.rank(episode.accuracy, episode.costs)
        result.append(episode.complete and (best is None or rank > best))
        best = rank if result[-1] else best
    return result


@dataclass(frozen=True)
class Accuracy:
    """Accuracies on a whole split, 0 to 1.

    Args:
        unpruned: Accuracy of the unpruned network.
        final: Accuracy of the exported network.
        after_search: Accuracy before the final fine-tune; not measured on the test split.
    """

    unpruned: Share
    final: Share
    after_search: Share | None = None


@dataclass(frozen=True)
class Accuracies:
    """Accuracies on the whole validation split, and on the test split, which was read once."""

    validation: Accuracy
    test: Accuracy


@dataclass(frozen=True)
class Spending:
    """What a search took; :class:`Episode` describes the values."""

    episodes: Count
    trials: Count
    search_macs_total: Count
    wall_seconds: Amount
    device_seconds: Amount

    @staticmethod
    def of(episodes: Sequence[Episode]) -> "Spending":
        """What the search with these episodes took; there is at least one."""
        last = episodes[-1]
        return Spending(
            episodes=len(episodes),
            trials=last.trials,
            search_macs_total=last.search_macs_total,
            wall_seconds=last.wall_seconds,
            device_seconds=last.device_seconds,
        )


@dataclass(frozen=True)
class Report(JsonRecord):
    """The result of a run: the exported network's accuracies and costs.

    Args:
        accuracy: Accuracies before and after.
        costs: Costs of the exported network.
        channels: Number of channels that each space keeps.
        codes: Number of codes of each block of the ALF mode.
        final_epochs: Epochs of the final fine-tune.
        final_seed: Seed of the final fine-tune.
        search: What the search took.
        compute: What the whole run took.
        differences: Largest difference of a logit between each exported file and the network.
        final_seconds: Seconds of final fine-tune and export.
        setup: What the run was started with.
    """

    SCHEMA = SCHEMA

    accuracy: Accuracies
    costs: Costs
    channels: Mapping[str, Whole]
    codes: Mapping[str, Count]
    final_epochs: Amount
    final_seed: Count
    search: Spending
    compute: Compute
    setup: Setup
    differences: Mapping[str, Amount] = field(default_factory=dict)
    final_seconds: Amount = 0.0

    @property
    def validation(self) -> Accuracy:
        """See :class:`Accuracies`."""
        return self.accuracy.validation

    @property
    def test(self) -> Accuracy:
        """See :class:`Accuracies`."""
        return self.accuracy.test

    @property
    def ratios(self) -> dict[str, float]:
        """The unpruned network's costs over the exported network's, by name."""
        own = self.costs.as_dict()
        return {name: value / own[name] for name, value in self.setup.costs.as_dict().items()}

    @property
    def target(self) -> TargetReport:
        """How the exported network compares with the target, on the whole validation split."""
        return self.setup._target(self.validation.unpruned - self.validation.final, self.costs)

    def summary(self) -> str:
        """A table of accuracy and costs before and after."""
        test, before, after = self.test, self.setup.costs.as_dict(), self.costs.as_dict()
        lines = [
            f"{'':<22}{'unpruned':>12}{'pruned':>12}{'ratio':>9}",
            f"{'test accuracy':<22}{test.unpruned:>12.2%}{test.final:>12.2%}"
            f"{100 * (test.final - test.unpruned):>+7.2f} p",
        ]
        for label, form, name in (
            ("parameters", ",.0f", "params"),
            ("MACs", ",.0f", "macs"),
            ("latency (ms)", ".3f", "latency_ms"),
            ("energy (uJ)", ".1f", "energy_uj"),
            ("weights (bytes)", ",.0f", "weight_bytes"),
            ("peak maps (bytes)", ",.0f", "peak_activation_bytes"),
        ):
            old, new = before[name], after[name]
            lines.append(f"{label:<22}{old:>12{form}}{new:>12{form}}{old / new:>8.2f}x")
        budget = self.compute.line(self.setup.config.budget)
        return "\n".join([*lines, *self.target.lines(), budget])
