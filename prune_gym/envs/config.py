"""The environment's arguments, checked in one place."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any

from torch import nn

from prune_gym.costs import OBJECTIVES
from prune_gym.data import Dataset, Normalization
from prune_gym.errors import PruneGymError, UnknownNameError
from prune_gym.jsonfile import LARGEST
from prune_gym.networks import Network
from prune_gym.pruning.repair import METHODS
from prune_gym.training import TrainingOptions

ENV_REVISION = 3
"""Revision of the environments: it counts changes of observations, transitions and rewards.

A default on which they depend counts, too: revision 3 visits all spaces and pays to the target.
"""
TRANSITION_REVISION = 2
"""Revision in which the networks and accuracies after the steps of built-in networks last changed.

Surrogates are found by it: revision 3 changed what networks cost, what repairs are counted as and
which spaces and reward are the default, but a step of ResNet-20 with the same arguments gives the
same weights and accuracy, bit for bit.
"""
ACTION_MODES = ("filters", "alf")
ORDERS = ("forward", "backward")
SCOPES = ("inner", "all")
OBSERVATIONS = ("features", "weights")
REWARDS = ("step", "target")
TUNE = ("all", "suffix")
FAST = ("fold", "prefix", "moments", "early_exit", "memo")
ACCURACY = "accuracy"
"""The only figure of a target that is not a cost."""
TARGETS = (*OBJECTIVES, ACCURACY)
_CHOICES: dict[str, tuple[str, ...]] = {
    "action_mode": ACTION_MODES,
    "order": ORDERS,
    "scope": SCOPES,
    "observation": OBSERVATIONS,
    "recovery": METHODS,
    "objective": OBJECTIVES,
    "reward": REWARDS,
    "tune": TUNE,
}
_TYPES: dict[str, tuple[Any, str]] = {
    "network": (str | Network | nn.Module, "the name of a network, a module or a Network"),
    "dataset": (str | Dataset, "the name of a data set, or a Dataset"),
    "weights": (str | None, "the path of a file of weights, or None"),
    "accelerator": (str, "a preset, or the path of a YAML file"),
    "device": (str, "a device's name, such as 'cpu'"),
    "fast": (bool | str | Sequence, "True, False, or a list of names"),
    "surrogate": (bool | str, "True, False, or the path of a safetensors file"),
}
_MINIMUM = {
    "image_size": 1,
    "image_channels": 1,
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
    *("dataset", "network", "weights", "image_size", "image_channels", "normalization"),
    *("accelerator", "accelerator_batch"),
    *("objective", "eval_images", "repair_images", "device"),
)


@dataclass(frozen=True, eq=False)
class EnvConfig:
    """All arguments of :class:`prune_gym.envs.PruningEnv` except ``render_mode``.

    Args:
        network: Name of an architecture, ``"package.module:function"``, ``"torchvision:NAME"``,
            the folder of a saved network, a trained module, or a :class:`Network`.
        dataset: Name of a data set (``"shapes"``, ``"cifar10"`` or ``"imagefolder:PATH"``), or a
            :class:`Dataset`.
        weights: File with weights to use instead of the shipped ones: safetensors, or ``.pth`` and
            ``.pt`` with a ``state_dict``.
        image_size: Height and width to which the images of a folder are resized.
        image_channels: Channels of the images of a folder, 3 (RGB) or 1 (grey).
        normalization: Normalisation with which the network was trained, as a
            :class:`prune_gym.data.Normalization` or ``{"mean": [...], "std": [...]}``. None: the
            one that the recipe of the weights names, else the network's own.
        order: Order of the visits, ``"forward"`` (from input to output) or ``"backward"``.
        scope: Spaces to visit, ``"inner"`` (spaces with one producer; in the ALF mode convolutions
            that do not read the images) or ``"all"``. None: ``"all"``; in the ALF mode
            ``"inner"``.
        observation: Kind of observation, ``"features"`` or ``"weights"``.
        recovery: Repair after a cut, ``"lsq"`` (least-squares refit of the consumers), ``"bn"``
            (batch norm is re-estimated) or ``"none"``. In the ALF mode ``"lsq"`` refits the
            expansion.
        objective: Cost to reduce, ``"latency"``, ``"energy"``, ``"edp"``, ``"macs"`` or
            ``"params"``.
        accelerator: Name of a preset of :mod:`hw_sim`, or path of a YAML file.
        accelerator_batch: Number of images that the accelerator processes at a time.
        reward: Kind of reward, ``"step"`` (a step earns what it saves, weighted by the accuracy
            after it) or, with a target, ``"target"`` (a step earns its progress towards the
            target). None: ``"target"`` if the target holds a cost, else ``"step"``.
        tolerance: Drop in accuracy at which a step earns nothing (b of the reward).
        duration_weight: Weight of the duration (w of the reward).
        target: Requirements for the final network, for example ``{"macs": 0.26, "latency": 0.6}``:
            for an objective's name the largest share of the unpruned network's cost; for
            ``"accuracy"`` the largest drop in validation accuracy, which only
            ``info["target_met"]`` uses (the reward uses ``tolerance``).
        max_epochs: Length of the fine-tuning at duration 1, in epochs of the training split.
        batch_size: Number of images in a mini-batch.
        learning_rate: Learning rate of the fine-tuning (SGD).
        eval_images: Size of the fixed validation subset. None: 1,000, or the whole split if it is
            smaller.
        repair_images: Size of the fixed unlabelled training subset for the repair. None: 256, or
            the whole split if it is smaller.
        min_keep: Minimum number of filters (or codes) to keep.
        round_to: Multiple to which the number of kept filters (or codes) is rounded up.
        search_budget: MACs that the environment may spend in its lifetime; None: no limit.
        fast: Fast paths to use: True (all), False (none), or some of :data:`FAST`.
        tune: Layers that fine-tuning changes: ``"all"``, or ``"suffix"`` (from the cut to the
            output), which takes less time.
        action_mode: Meaning of the actions, ``"filters"`` or ``"alf"``.
        surrogate: Whether a fitted surrogate predicts the accuracy (:mod:`prune_gym.surrogate`),
            or the path of its safetensors file. With True, the surrogate is found by everything on
            which the accuracy depends. With False, networks are cut, trained and evaluated.
        device: Device of the network.
        threads: Number of torch threads. None: all cores, or 1 in a worker process. The number
            changes how sums are rounded.

    Raises:
        UnknownNameError: If a name is unknown.
        ValueError: If a value is out of range; the message names it.
        PruneGymError: If a surrogate is combined with the ALF mode.
    """

    network: str | Network | nn.Module = "resnet20"
    dataset: str | Dataset = "shapes"
    weights: str | None = None
    image_size: int = 32
    image_channels: int = 3
    normalization: Normalization | None = None
    order: str = "forward"
    scope: str | None = None
    observation: str = "features"
    recovery: str = "lsq"
    objective: str = "latency"
    accelerator: str = "eyeriss"
    accelerator_batch: int = 1
    reward: str | None = None
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
        if self.normalization is not None and not isinstance(self.normalization, Normalization):
            object.__setattr__(self, "normalization", Normalization.from_json(self.normalization))
        for name, (types, wanted) in _TYPES.items():
            if not isinstance(getattr(self, name), types):
                raise ValueError(f"{name}={getattr(self, name)!r} must be {wanted}")
        _check_target(self.target)
        for name, value in self._resolved().items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise UnknownNameError(name, getattr(self, name), known)
        for name in self.fast_paths:
            if name not in FAST:
                raise UnknownNameError("fast path", name, FAST)
        for name, minimum in _MINIMUM.items():
            _check_whole(name, getattr(self, name), minimum, optional=name in _OPTIONAL)
        if self.threads is not None and self.threads > 1024:
            raise ValueError(f"threads={self.threads} must be at most 1024")
        for name in ("max_epochs", "learning_rate", "tolerance", "duration_weight"):
            _check_number(name, getattr(self, name), zero=name == "duration_weight")
        if self.tolerance > 1:
            raise ValueError(f"tolerance={self.tolerance} must be above 0 and at most 1")
        if self.reward == "target" and not self.wanted_costs:
            raise ValueError(
                "reward='target' needs a target with a cost, for example target={'macs': 0.5}"
            )
        if self.predicted and self.action_mode != "filters":
            raise PruneGymError(
                f"action_mode={self.action_mode!r}: a surrogate only predicts the removal of "
                "filters. Use the real environment, without --warm-start."
            )

    def _resolved(self) -> dict[str, str]:
        """The values of the arguments whose default, None, depends on other arguments."""
        return {
            "scope": "inner" if self.action_mode == "alf" else "all",
            "reward": "target" if self.wanted_costs else "step",
        }

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
        """The limits of the target, by name; empty without a target."""
        return {name: float(value) for name, value in (self.target or {}).items()}

    @property
    def wanted_costs(self) -> dict[str, float]:
        """The target's limits for costs: the largest share of the unpruned network's cost."""
        return {name: value for name, value in self.wanted.items() if name != ACCURACY}

    @property
    def training(self) -> TrainingOptions:
        """Options of the fine-tuning."""
        return TrainingOptions(batch_size=self.batch_size, learning_rate=self.learning_rate)

    def max_batches(self, images: int) -> int:
        """The number of mini-batches at duration 1.

        Args:
            images: Number of images in the training split.
        """
        return max(1, round(self.max_epochs * images / self.batch_size))

    def shared(self) -> tuple[Any, ...]:
        """The values on which the :class:`prune_gym.envs.baseline.Baseline` depends."""
        return tuple(getattr(self, name) for name in _SHARED)

    def changed(self) -> dict[str, Any]:
        """The arguments that differ from their defaults, by name, as JSON; without objects."""
        defaults = {field.name: field.default for field in fields(self)} | self._resolved()
        values = {name: getattr(self, name) for name in defaults}
        return {
            name: value.to_json() if isinstance(value, Normalization) else value
            for name, value in values.items()
            if not isinstance(value, Network | Dataset) and value != defaults[name]
        }


def _check_whole(name: str, value: object, minimum: int, optional: bool) -> None:
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ValueError(f"{name}={value!r} must be a whole number")
    if int(value) < minimum:
        raise ValueError(f"{name}={value} must be at least {minimum}")


def _check_number(name: str, value: object, zero: bool) -> None:
    """Refuse everything but a number above 0, or 0 if ``zero`` is set, that is not absurd."""
    number = _number(name, value)
    if not 0 <= number <= LARGEST or (number == 0 and not zero):
        bound = "at least" if zero else "above"
        raise ValueError(f"{name}={value} must be a finite number {bound} 0")


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ValueError(f"{name}={value!r} must be a number")
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _check_target(target: object) -> None:
    if target is None:
        return
    if not isinstance(target, Mapping):
        raise ValueError(f"target={target!r} must map names to limits, such as {{'macs': 0.26}}")
    for name, value in target.items():
        if name not in TARGETS:
            raise UnknownNameError("target", name, TARGETS)
        share = _number(f"target: {name}", value)
        if name == ACCURACY and not 0 <= share <= 1:
            raise ValueError(f"target: accuracy={value} must be a drop in accuracy, 0 to 1")
        if name != ACCURACY and not 0 < share <= 1:
            raise ValueError(
                f"target: {name}={value} must be a share of the unpruned network's cost, "
                "above 0 and at most 1"
            )
