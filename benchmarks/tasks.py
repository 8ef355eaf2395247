"""The benchmark's tasks: everything that is equal for the agents that are compared."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from prune_gym.errors import PruneGymError, UnknownNameError
from prune_gym.runs.compute import SEARCH_SHARE
from prune_gym.runs.config import RunConfig
from prune_gym.settings import parse_settings

FEW = 3.84
"""L2PF's compression ratio."""


@dataclass(frozen=True)
class Task:
    """One task; a change of any value makes another version.

    The best network of a search is the most accurate on the validation subset of those that meet
    the target. What the search leaves of the budget trains it; its score is the test accuracy then.

    Args:
        name: Name of the task.
        version: Number of the version, from 1.
        env_id: Id of the environment.
        environment: Arguments of the environment.
        budget: Epoch-equivalents of a whole run (:mod:`prune_gym.runs.compute`).
        search_share: Share of the budget after which no further episode begins.
        needs_data: Whether the user names the images (``--dataset``).
        agent_options: Hyperparameters that suit the budget, by agent.
    """

    name: str
    version: int
    env_id: str
    environment: Mapping[str, Any]
    budget: float
    search_share: float = SEARCH_SHARE
    needs_data: bool = False
    agent_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that makes the version."""
        facts = {name: value for name, value in asdict(self).items() if name != "version"}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    @property
    def summary(self) -> str:
        """The task in one line, for people."""
        target = ", ".join(
            f"{name}={share:g}" for name, share in self.environment["target"].items()
        )
        images = "needs --dataset" if self.needs_data else "no images needed"
        return (
            f"{self.name:<28} version {self.version}  {self.env_id}, target {target}, "
            f"{self.budget:g} epoch-equivalents, {images}"
        )

    def run_config(
        self, agent: str, seed: int, out: Path, dataset: str | None = None, device: str = "cpu"
    ) -> RunConfig:
        """The configuration of a run of the task.

        Args:
            agent: Name and options of the agent, as for :func:`variant`; its options override the
                task's.
            seed: Seed of agent and environment.
            out: Folder of the run.
            dataset: The images; refused unless the task asks for them.
            device: Device of the network.
        """
        name, own = variant(agent)
        if self.needs_data and dataset is None:
            raise PruneGymError(
                f"task {self.name!r} needs images: add --dataset cifar10 or imagefolder:PATH"
            )
        if dataset is not None and not self.needs_data:
            raise PruneGymError(
                f"task {self.name!r} has images of its own: leave --dataset {dataset} out"
            )
        images = {} if dataset is None else {"dataset": dataset}
        return RunConfig(
            self.env_id,
            name,
            str(out),
            seed,
            budget=self.budget,
            search_share=self.search_share,
            env_arguments={**images, "device": device, "threads": 1, **self.environment},
            agent_options={**self.agent_options.get(name, {}), **own},
        )


def variant(agent: str) -> tuple[str, dict[str, Any]]:
    """An agent's name and the options that a benchmark gives it.

    Args:
        agent: A name or ``package.module:Class``, and any number of ``@option=value`` after it,
            for example ``l2pf@fixed_duration=0.25``.
    """
    name, *given = agent.split("@")
    for text in given:
        option, _, value = text.partition("=")
        if not option or not value:
            raise PruneGymError(f"agent {agent!r}: {text!r} must be option=value")
    return name, parse_settings(given, f"option of agent {name!r}")


def agent_names(text: str) -> list[str]:
    """The agents of a comma-separated list; one twice is refused, as cells would share a folder."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not names or twice:
        wrong = f"{', '.join(twice)} twice" if twice else "none"
        raise PruneGymError(f"--agents {text!r} names {wrong}: name each agent once")
    return names


_SHORT: dict[str, dict[str, Any]] = {
    "l2pf": {"candidates": 3, "updates": 1},
    "try_and_learn": {"samples": 3, "updates": 1},
    "amc": {"warmup_episodes": 4, "noise_decay": 0.9},
    **{name: {"warmup_episodes": 3} for name in ("sac", "td3", "ddpg")},
    **{name: {"rollout_episodes": 2, "minibatches": 2} for name in ("ppo", "maskable_ppo")},
    **{name: {"duration": 0} for name in ("l1", "fpgm", "uniform", "random", "evolution")},
}
"""With a budget of a few episodes, an agent has to start learning early. What the controls do not
train on the way, they train at the end: a mini-batch a step ruined a VGG-16 (14 % after the search,
66 % without)."""


_SPACES: dict[str, Any] = {"scope": "all", "reward": "target"}
"""The tasks name what they measure, whatever the defaults are."""


def _cifar10(
    name: str,
    target: Mapping[str, float],
    budget: float = 40.0,
    network: str = "ResNet20",
    version: int = 2,
    search_share: float = SEARCH_SHARE,
    options: Mapping[str, Any] | None = None,
    **more: Any,
) -> Task:
    """A task to learn on a GPU, or, with a small budget, for two cores."""
    short = name.endswith("-short")
    sizes = {"eval_images": 500, "repair_images": 128} if short else {"eval_images": 1000}
    environment = {"target": target, "tolerance": 0.5, **_SPACES, **sizes, **more}
    own = (_SHORT if short else {"l2pf": _SHORT["l2pf"]}) | dict(options or {})
    id = f"Prune{network}-CIFAR10-v0"
    return Task(name, version, id, environment, budget, search_share, True, own)


def _shapes(
    name: str,
    target: Mapping[str, float],
    budget: float,
    version: int = 1,
    images: tuple[int, int] = (250, 128),
    network: str = "ResNet20",
    **more: Any,
) -> Task:
    """A task on the embedded images for two cores; ``images`` are for evaluation and repair."""
    sizes = dict(zip(("eval_images", "repair_images"), images, strict=True))
    environment = {"target": target, "tolerance": 0.5, **_SPACES, **sizes, **more}
    return Task(name, version, f"Prune{network}-v0", environment, budget, agent_options=_SHORT)


def with_room(name: str, network: str, target: Mapping[str, float], **more: Any) -> Task:
    """A task of half an epoch-equivalent that :mod:`benchmarks.studies.room` has searched.

    Sensitivities are counted each time, so they are measured on few images. A VGG and a MobileNetV2
    take no least-squares refit: at high ratios it leaves them in ruins.
    """
    recovery: dict[str, Any] = {} if network in ("ResNet20", "Plain20") else {"recovery": "bn"}
    return _shapes(name, target, 0.5, images=(250, 64), network=network, **recovery, **more)


EPOCH = 5000 / 45_000
"""L2PF's epoch of 5,000 images, as a share of CIFAR-10's training split here."""
_WAY: dict[str, Any] = {"tolerance": 0.3, "version": 3}
"""For targets that are easy to reach: with a tolerance of 0.5, L2PF learned not to train at all."""
_LEARNED = {"l2pf": {**_SHORT["l2pf"], "duration_learns": "total"}}
"""Accuracy that fine-tuning regains has to be paid if durations are learned."""
_UNTUNED = {"evolution": {"duration": 0}}
"""Without fine-tuning an individual is cheap: the budget pays for four generations."""
HARDWARE = {"macs": (0.6, 0.45, 0.3), "latency": (0.7, 0.6, 0.52)}
"""Targets of the tasks that compare the two objectives on the default accelerator."""


def hardware_task(objective: str, share: float, short: bool) -> str:
    """The name of the task with a target for one objective, a share of the unpruned cost."""
    return f"cifar10-{objective}-{share:g}{'-short' if short else ''}"


def _hardware(objective: str, share: float) -> list[Task]:
    """The task for two cores, and the one for a GPU."""
    target = {objective: share}
    name, full = (hardware_task(objective, share, short) for short in (True, False))
    own: dict[str, Any] = {"objective": objective, "version": 3, "options": _UNTUNED}
    return [_cifar10(name, target, 2.0, **own), _cifar10(full, target, **own)]


_DURATIONS: dict[str, Any] = {"max_epochs": EPOCH, **_WAY, "options": _LEARNED}
_HALF = {"macs": 0.5}
_BOTH = {"macs": round(1 / FEW, 4), "params": round(1 / FEW, 4)}
_ALL = (
    _shapes("smoke", {"macs": 0.5}, 0.12, version=2, images=(50, 32)),
    _shapes("shapes", {"macs": 0.26}, 1.0, version=2),
    _shapes("resnet20-latency", {"latency": 0.45}, 1.5),
    with_room("vgg16-macs", "VGG16", {"macs": 0.25}),
    with_room("vgg16-10x", "VGG16", {"macs": 0.1}),
    with_room("vgg16-latency", "VGG16", {"latency": 0.25}),
    with_room("vgg16-macs-params", "VGG16", {"macs": 0.25, "params": 0.05}),
    with_room("plain20-latency", "Plain20", {"latency": 0.3}),
    _cifar10("cifar10-2x", _HALF),
    _cifar10("cifar10-3.84x", _BOTH),
    _cifar10("cifar10-latency", {"latency": 0.59}),
    _cifar10("cifar10-3.84x-short", _BOTH, 1.0),
    _cifar10("cifar10-resnet56-2x-short", _HALF, 0.5, "ResNet56", **_WAY),
    _cifar10("cifar10-resnet56-2x", _HALF, network="ResNet56", **_WAY),
    _cifar10("cifar10-durations", _HALF, **_DURATIONS),
    _cifar10("cifar10-durations-short", _HALF, 1.0, search_share=1.0, **_DURATIONS),
    *(task for name in HARDWARE for share in HARDWARE[name] for task in _hardware(name, share)),
)
TASKS = {task.name: task for task in _ALL}


def find(name: str) -> Task:
    """A task by name."""
    if name not in TASKS:
        raise UnknownNameError("task", name, TASKS)
    return TASKS[name]
