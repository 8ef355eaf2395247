"""The configuration of a run: everything on which its result depends."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import gymnasium as gym

from prune_gym import registration
from prune_gym.envs.config import EnvConfig
from prune_gym.errors import PruneGymError, UnknownNameError
from prune_gym.interface import Budget
from prune_gym.runs.compute import SEARCH_SHARE

EPISODES = 10
"""Episodes of a search without any limit of its own."""
FINAL_EPOCHS = 5.0
"""Epochs of the final fine-tune of a run without a budget."""
LIMITS = ("episodes", "steps", "search_macs", "seconds")
_OPTIONS = ("network", "dataset", "weights", "objective", "accelerator", "device", "threads")
"""Arguments of the environment that have options of their own on the command line."""


@dataclass(frozen=True)
class RunConfig:
    """What to search, with which agent, for how long.

    Args:
        env_id: Id of the environment, for example ``"PruneResNet20-v0"``.
        agent: Name of the agent (``prune-gym list agents``), or ``"package.module:Class"``.
        out: Folder for the run's files.
        seed: Seed of agent and environment.
        episodes: Largest number of finished episodes; 10 if no limit is given at all.
        steps: Largest number of steps, tried candidates included; the current episode is finished.
        search_macs: Largest number of MACs that the search may spend.
        seconds: Longest wall time of the search; results then depend on the machine's speed.
        budget: Epoch-equivalents of the whole run (:mod:`prune_gym.runs.compute`). What the search
            does not spend trains the best network longer.
        search_share: Share of the budget after which no further episode begins. A search by an
            agent that gains nothing from a second episode ends after the first.
        final_epochs: Epochs of the final fine-tune of the best network. None: 5, or with a budget
            as many as it leaves.
        env_arguments: Arguments of the environment, by name; those of the id are the default.
        agent_options: Hyperparameters of the agent, by name.
        warm_start: Episodes that the agent first learns in the surrogate environment; 0 for none.
        require_export: Whether a network that cannot be exported is refused before the search.
            Otherwise a warning says so, and the result is saved without ONNX and torch.export.

    Raises:
        PruneGymError: If a value is of the wrong kind or out of range; the message names it.
        ValueError: If an argument of the environment is unknown or out of range.
    """

    env_id: str
    agent: str = "l2pf"
    out: str | None = None
    seed: int = 0
    episodes: int | None = None
    steps: int | None = None
    search_macs: int | None = None
    seconds: float | None = None
    budget: float | None = None
    search_share: float = SEARCH_SHARE
    final_epochs: float | None = None
    env_arguments: Mapping[str, Any] = field(default_factory=dict)
    agent_options: Mapping[str, Any] = field(default_factory=dict)
    warm_start: int = 0
    require_export: bool = False

    def __post_init__(self) -> None:
        for name in ("env_id", "agent"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value:
                raise PruneGymError(f"{name}={value!r} must be a name")
        if isinstance(self.out, Path):
            object.__setattr__(self, "out", str(self.out))
        if self.out is not None and (
            not isinstance(self.out, str) or "\0" in self.out or not self.out
        ):
            raise PruneGymError(f"out={self.out!r} must be the path of a folder")
        self._check_budget()
        if isinstance(self.search_macs, float) and self.search_macs.is_integer():
            object.__setattr__(self, "search_macs", int(self.search_macs))
        for name in ("seed", *self.limits, "warm_start"):
            if name != "seconds":
                self._check_whole(name)
        if self.seconds is not None:
            self._check_number("seconds", math.inf)
        if not isinstance(self.require_export, bool):
            raise PruneGymError(f"require_export={self.require_export!r} must be True or False")
        for name in ("env_arguments", "agent_options"):
            object.__setattr__(self, name, _plain(name, getattr(self, name)))
        self.environment()  # checks the arguments
        if self.env_id == registration.SURROGATE and list(self.limits) == ["search_macs"]:
            raise PruneGymError(
                "A limit of search_macs would never end a search in a surrogate, which spends no "
                "MACs. Give episodes, steps or seconds."
            )

    def _check_whole(self, name: str) -> None:
        value, least = getattr(self, name), int(name in LIMITS)
        if isinstance(value, bool) or not isinstance(value, int):
            raise PruneGymError(f"{name}={value!r} must be a whole number")
        if not least <= value < 2**63:
            bound = f"at least {least}" if value < least else "below 2**63"
            raise PruneGymError(f"{name}={value} must be {bound}")

    def _check_budget(self) -> None:
        """Check budget and final fine-tune, and set the defaults of a run without a budget."""
        self._check_number("search_share", 1.0, inclusive=True)
        if self.budget is not None:
            self._check_number("budget", 10_000)
            if self.final_epochs is not None:
                raise PruneGymError(
                    f"final_epochs={self.final_epochs} and budget={self.budget} exclude each "
                    "other: the final fine-tune lasts as long as the budget allows. Leave one out."
                )
            return
        if all(getattr(self, name) is None for name in LIMITS):
            object.__setattr__(self, "episodes", EPISODES)
        if self.final_epochs is None:
            object.__setattr__(self, "final_epochs", FINAL_EPOCHS)
        self._check_number("final_epochs", 10_000)

    def _check_number(self, name: str, most: float, inclusive: bool = False) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise PruneGymError(f"{name}={value!r} must be a number")
        positive = name in (*LIMITS, "budget", "search_share")
        if not (0 <= value < most or (inclusive and value == most)) or (value == 0 and positive):
            wanted = "above 0" if positive else "of at least 0"
            word = "at most" if inclusive else "below"
            bound = "" if most == math.inf else f" and {word} {most:,.0f}"
            raise PruneGymError(f"{name}={value} must be a finite number {wanted}{bound}")

    @property
    def limits(self) -> dict[str, float]:
        """The limits of the search that are given, by name."""
        return {n: getattr(self, n) for n in LIMITS if getattr(self, n) is not None}

    def search_budget(self, epoch: int) -> Budget:
        """The limits of the search, as a new budget whose clock starts now.

        Args:
            epoch: MACs of an epoch-equivalent.
        """
        macs = self.search_macs
        if self.budget is not None:
            share = max(1, int(self.search_share * self.budget * epoch))
            macs = share if macs is None else min(macs, share)
        return Budget(self.episodes, self.steps, macs, self.seconds)

    @property
    def folder(self) -> Path:
        """The run's folder.

        Raises:
            PruneGymError: If no folder is given.
        """
        if self.out is None:
            raise PruneGymError("out is missing: name a folder for the run's files")
        return Path(self.out)

    def environment(self) -> EnvConfig:
        """All arguments of the environment: those given, else the id's, else the defaults.

        Raises:
            UnknownNameError: If a name is unknown.
            ValueError: If a value is out of range.
        """
        known = [own.name for own in fields(EnvConfig)]
        for name in self.env_arguments:
            if name not in known:
                raise UnknownNameError("environment argument", name, known)
        spec = gym.registry.get(self.env_id)
        arguments = {**(spec.kwargs if spec else {}), **self.env_arguments}
        return EnvConfig(**{name: value for name, value in arguments.items() if name in known})

    def command(self) -> list[str]:
        """The words of the command line that does the same: ``["prune-gym", "train", ...]``."""
        words = ["prune-gym", "train", self.env_id, "--agent", self.agent, "--seed", str(self.seed)]
        words += ["--out", str(self.out or "RUN")]
        for name in ("budget", "final_epochs"):
            if (given := getattr(self, name)) is not None:
                words += [f"--{name.replace('_', '-')}", _number(given)]
        if self.search_share != SEARCH_SHARE:
            words += ["--search-share", _number(self.search_share)]
        for name, value in self.limits.items():
            minutes = name == "seconds"
            words.append("--minutes" if minutes else f"--{name.replace('_', '-')}")
            words.append(_number(value / 60 if minutes else value))
        if self.warm_start:
            words += ["--warm-start", "surrogate", "--warm-start-episodes", str(self.warm_start)]
        if self.require_export:
            words.append("--require-export")
        for name, value in self.env_arguments.items():
            if name == "normalization" and value:
                for option, numbers in value.items():
                    # One word, because a list may begin with a minus.
                    words.append(f"--{option}={','.join(_number(each) for each in numbers)}")
            elif name == "target" and value:
                for cost, most in value.items():
                    words += ["--target", f"{cost}={most}"]
            elif name in _OPTIONS:
                words += [f"--{name}", _word(value)]
            else:
                words += ["--env", f"{name}={_word(value)}"]
        for name, value in self.agent_options.items():
            words += ["--set", f"{name}={_word(value)}"]
        return words

    def to_json(self) -> dict[str, Any]:
        """The configuration as a JSON object; :meth:`from_json` reads it."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "RunConfig":
        """A configuration from :meth:`to_json`; all names and values are checked."""
        known = [own.name for own in fields(cls)]
        for name in value:
            if name not in known:
                raise UnknownNameError("setting of a run", name, known)
        if "env_id" not in value:
            raise PruneGymError("env_id is missing: name an environment of `prune-gym list`")
        return cls(**value)


def _word(value: Any) -> str:
    """A value as ``NAME=VALUE`` takes it: YAML, of which JSON is a part."""
    return value if isinstance(value, str) else json.dumps(value)


def _number(value: float) -> str:
    """The shortest form that is read back as the same number."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def _plain(name: str, value: object) -> dict[str, Any]:
    """A mapping as JSON would return it, so that a configuration equals its own copy."""
    if not isinstance(value, Mapping):
        raise PruneGymError(f"{name}={value!r} must be a mapping of names to values")
    try:
        plain: dict[str, Any] = json.loads(json.dumps(dict(value), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise PruneGymError(
            f"{name}={value!r} cannot be written as JSON ({error}): give numbers, texts, lists "
            "and mappings only. Networks and data sets are given by name, such as "
            "'package.module:function' and 'imagefolder:PATH'."
        ) from error
    return plain
