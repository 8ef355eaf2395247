"""The environment's arguments, checked in one place."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from prune_gym.costs import OBJECTIVES
from prune_gym.data import Dataset
from prune_gym.errors import PruneGymError, UnknownNameError
from prune_gym.networks import Network
from prune_gym.pruning.repair import METHODS
from prune_gym.training import TrainingOptions

ENV_REVISION = 2
"""The number of changes of what the environments show, do or pay."""
ACTION_MODES = ("filters", "alf")
ORDERS = ("forward", "backward")
SCOPES = ("inner", "all")
OBSERVATIONS = ("features", "weights")
REWARDS = ("step", "target")
TUNE = ("all", "suffix")
FAST = ("fold", "prefix", "moments", "early_exit", "memo")
ACCURACY = "accuracy"
"""The one wanted figure that is not a cost."""
TARGETS = (*OBJECTIVES, ACCURACY)
_NAMED: dict[str, tuple[str, ...]] = {
    "action_mode": ACTION_MODES,
    "order": ORDERS,
    "scope": SCOPES,
    "observation": OBSERVATIONS,
    "recovery": METHODS,
    "objective": OBJECTIVES,
    "reward": REWARDS,
    "tune": TUNE,
}
_LEAST = {
    "batch_size": 2,
    "accelerator_batch": 1,
    "min_keep": 1,
    "round_to": 1,
    "search_budget": 1,
    "threads": 1,
    "eval_images": 1,
    "repair_images": 1,
}
_OPTIONAL = ("search_budget", "threads", "eval_images", "repair_images")
_SHARED = (
    *("dataset", "network", "weights", "image_size", "accelerator", "accelerator_batch"),
    *("objective", "eval_images", "repair_images", "device"),
)


@dataclass(frozen=True, eq=False)
class EnvConfig:
    """All arguments of :class:`prune_gym.envs.PruningEnv` but ``render_mode``.

    Args:
        network: Name of an architecture, or the user's own trained :class:`Network`.
        dataset: ``"shapes"``, ``"cifar10"``, ``"imagefolder:PATH"``, or a :class:`Dataset`.
        weights: Safetensors file that replaces the baseline's weights.
        image_size: Height and width to which the images of a folder are resized.
        order: ``"forward"`` (from input to output) or ``"backward"``.
        scope: ``"inner"`` (spaces with one producer; in the ALF mode convolutions that do not
            read the images) or ``"all"``.
        observation: ``"features"`` or ``"weights"``.
        recovery: ``"lsq"`` (least-squares refit of the consumers), ``"bn"`` (batch norm is
            re-estimated) or ``"none"``. In the ALF mode the expansion is refitted.
        objective: ``"latency"``, ``"energy"``, ``"edp"``, ``"macs"`` or ``"params"``.
        accelerator: Preset of :mod:`hw_sim`, or a YAML file.
        accelerator_batch: Number of images that the accelerator processes at a time.
        reward: ``"step"`` (a step earns what it saves, weighted by the accuracy after it) or,
            with a target, ``"target"`` (a step earns its progress towards the target).
        tolerance: b of the reward: the drop in accuracy at which nothing is earned.
        duration_weight: w of the reward.
        target: Requirements for the final network, for example ``{"macs": 0.26, "latency": 0.6}``:
            for an objective's name the largest share of the unpruned network's cost; for
            ``"accuracy"`` the largest drop in validation accuracy, which only
            ``info["target_met"]`` uses (the reward uses ``tolerance``).
        max_epochs: Fine-tuning of duration 1, in epochs of the training split.
        batch_size: Number of images in a mini-batch.
        learning_rate: Learning rate of the fine-tuning (SGD).
        eval_images: Size of the fixed validation subset. None: 1,000, or the whole split if it is
            smaller.
        repair_images: Size of the fixed unlabelled training subset for the repair. None: 256, or
            the whole split if it is smaller.
        min_keep: Least number of filters (or codes) that are kept.
        round_to: Number to whose multiples the count of kept filters is rounded up.
        search_budget: Number of MACs that may be spent in the environment's lifetime, or None.
        fast: True for all fast paths, False for none, or some of :data:`FAST`.
        tune: Layers that fine-tuning changes: ``"all"``, or ``"suffix"`` (from the cut to the
            output), which takes less time.
        action_mode: ``"filters"`` or ``"alf"``.
        surrogate: False: networks are cut, trained and evaluated. True: a fitted surrogate
            predicts the accuracy (:mod:`prune_gym.surrogate`); it is found by what the accuracy
            depends on. A path: the safetensors file of the surrogate.
        device: Device of the network.
        threads: Number of torch threads. None: all cores, or 1 in a worker process. It changes
            sums of floats.

    Raises:
        UnknownNameError: If a name is unknown.
        ValueError: If a value is out of range; the message names it.
        PruneGymError: If a surrogate is asked for in the ALF mode.
    """

    network: str | Network = "resnet20"
    dataset: str | Dataset = "shapes"
    weights: str | None = None
    image_size: int = 32
    order: str = "forward"
    scope: str = "inner"
    observation: str = "features"
    recovery: str = "lsq"
    objective: str = "latency"
    accelerator: str = "eyeriss"
    accelerator_batch: int = 1
    reward: str = "step"
    tolerance: float = 0.2
    duration_weight: float = 0.02
    target: Mapping[str, float] | None = None
    max_epochs: float = 0.08
    batch_size: int = 128
    learning_rate: float = 0.02
    eval_images: int | None = None
    repair_images: int | None = None
    min_keep: int = 1
    round_to: int = 1
    search_budget: int | None = None
    fast: bool | str | Sequence[str] = True
    tune: str = "all"
    action_mode: str = "filters"
    surrogate: bool | str = False
    device: str = "cpu"
    threads: int | None = None

    def __post_init__(self) -> None:
        for name, known in _NAMED.items():
            if getattr(self, name) not in known:
                raise UnknownNameError(name, getattr(self, name), known)
        for name in self.fast_paths:
            if name not in FAST:
                raise UnknownNameError("fast path", name, FAST)
        for name, least in _LEAST.items():
            _check_whole(name, getattr(self, name), least, name in _OPTIONAL)
        if self.threads is not None and self.threads > 1024:
            raise ValueError(f"threads={self.threads} must be at most 1024")
        for name in ("max_epochs", "learning_rate", "tolerance", "duration_weight"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ValueError(f"{name}={value!r} must be a number")
            if not 0 <= value < math.inf or (value == 0 and name != "duration_weight"):
                least_told = "at least" if name == "duration_weight" else "above"
                raise ValueError(f"{name}={value} must be a finite number {least_told} 0")
        if self.tolerance > 1:
            raise ValueError(f"tolerance={self.tolerance} must be above 0 and at most 1")
        _check_target(self.target)
        if self.reward == "target" and not self.wanted_costs:
            raise ValueError(
                "reward='target' needs a target with a cost, for example target={'macs': 0.5}"
            )
        if self.predicted and self.action_mode != "filters":
            raise PruneGymError(
                f"action_mode={self.action_mode!r}: a surrogate predicts cuts of filters only. "
                "Use the real environment, without --warm-start."
            )

    @property
    def predicted(self) -> bool:
        """Whether a surrogate predicts the accuracy."""
        return self.surrogate is not False

    @property
    def fast_paths(self) -> frozenset[str]:
        """The names of the fast paths in use."""
        if isinstance(self.fast, bool):
            return frozenset(FAST if self.fast else ())
        return frozenset([self.fast] if isinstance(self.fast, str) else self.fast)

    @property
    def wanted(self) -> dict[str, float]:
        """The target as numbers by name; empty without one."""
        return {name: float(value) for name, value in (self.target or {}).items()}

    @property
    def wanted_costs(self) -> dict[str, float]:
        """The target's costs: for each the largest share of the unpruned network's."""
        return {name: value for name, value in self.wanted.items() if name != ACCURACY}

    @property
    def training(self) -> TrainingOptions:
        """Options of the fine-tuning."""
        return TrainingOptions(batch_size=self.batch_size, learning_rate=self.learning_rate)

    def max_batches(self, images: int) -> int:
        """The mini-batches of duration 1.

        Args:
            images: Size of the training split.
        """
        return max(1, round(self.max_epochs * images / self.batch_size))

    def shared(self) -> tuple[Any, ...]:
        """The values on which the :class:`prune_gym.envs.baseline.Baseline` depends."""
        return tuple(getattr(self, name) for name in _SHARED)

    def changed(self) -> dict[str, Any]:
        """The arguments that differ from their defaults, by name; objects are left out."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        plain = {n: v for n, v in values.items() if not isinstance(v, Network | Dataset)}
        defaults = {field.name: field.default for field in fields(self)}
        return {name: value for name, value in plain.items() if value != defaults[name]}


def _check_whole(name: str, value: object, least: int, optional: bool) -> None:
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name}={value!r} must be a whole number")
    if value < least:
        raise ValueError(f"{name}={value} must be at least {least}")


def _check_target(target: object) -> None:
    if target is None:
        return
    if not isinstance(target, Mapping):
        raise ValueError(f"target={target!r} must name costs and numbers, such as {{'macs': 0.26}}")
    for name, value in target.items():
        if name not in TARGETS:
            raise UnknownNameError("target", name, TARGETS)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"target: {name}={value!r} must be a number")
        if name == ACCURACY and not 0 <= value <= 1:
            raise ValueError(f"target: accuracy={value} must be a drop in accuracy, 0 to 1")
        if name != ACCURACY and not 0 < value <= 1:
            raise ValueError(
                f"target: {name}={value} must be a share of the unpruned network's, "
                "above 0 and at most 1"
            )
