"""The runs of ALF's table, each a stage that continues after an interruption."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.stages import Stage, scratch_stage, search_stage
from prune_gym.data import load_dataset
from prune_gym.errors import WeightsError
from prune_gym.networks import pretrained as baselines
from prune_gym.runs.config import RunConfig

ENVIRONMENTS = {"resnet20": "PruneResNet20-v0", "plain20": "PrunePlain20-v0"}
PARAMS, MACS = 0.30, 0.39
"""Shares that the abstract's networks keep: -70 % of the parameters, -61 % of the operations."""
AGENTS = ("alf", "l1", "l2pf")


@dataclass(frozen=True)
class Setting:
    """The setting of the study: the options of its command, see ``--help``."""

    network: str
    dataset: str
    out: Path
    seed: int
    device: str
    threads: int
    baseline_epochs: float
    epochs: float
    final_epochs: float
    from_scratch: bool
    eval_images: int

    @property
    def command(self) -> str:
        """The command of the study, without the folders of this machine."""
        kind, _, path = self.dataset.partition(":")
        words = ["python -m benchmarks.studies.alf", f"--network {self.network}"]
        words += [f"--dataset {kind}:PATH" if path else f"--dataset {kind}"]
        for name in ("seed", "device", "threads", "epochs", "final_epochs", "eval_images"):
            words.append(f"--{name.replace('_', '-')} {getattr(self, name)}")
        return " ".join([*words, *(["--from-scratch"] if self.from_scratch else []), "--out RUNS"])

    @property
    def longer(self) -> float:
        """Epochs of the controls' final fine-tune: ALF has them in its two trainings."""
        return self.epochs + self.final_epochs

    def path(self, name: str) -> Path:
        """A file or folder of the study."""
        return self.out / f"{self.network}-{name}"

    def run(self, agent: str) -> RunConfig:
        """The configuration of an agent's run."""
        options: dict[str, Any] = {}
        given: dict[str, Any] = {
            "dataset": self.dataset,
            "device": self.device,
            "threads": self.threads,
            "eval_images": self.eval_images,
            "target": {"macs": MACS},
            "scope": "inner",
            "reward": "step",
        }
        if agent == "alf":
            given |= {"action_mode": "alf", "scope": "all"}
            given["target"] = {"macs": MACS, "params": PARAMS}
            options = {"epochs": self.epochs, "from_scratch": self.from_scratch}
        else:
            given["tolerance"] = 0.5
        if agent == "l2pf":
            # Paid for the way to the target alone, one untrained episode ends at equal MACs.
            given["reward"] = "target"
            options = {"candidates": 3, "updates": 1}
        return RunConfig(
            ENVIRONMENTS[self.network],
            agent,
            str(self.path(agent)),
            self.seed,
            episodes=1,
            final_epochs=self.final_epochs if agent == "alf" else self.longer,
            env_arguments=given,
            agent_options=options,
        )

    @property
    def scratch(self) -> Path:
        """The weights of the from-scratch control; its recipe is beside them."""
        return self.path("scratch.safetensors")


def stages(setting: Setting) -> Iterator[Stage]:
    """All stages of one network, in order."""
    has, pretrain = partial(_has_baseline, setting), partial(_pretrain, setting)
    yield Stage("baseline", has, pretrain, setting.path("baseline.log"))
    alf, log = setting.run("alf"), setting.path("scratch.log")
    yield search_stage(alf, "alf", setting.path("alf.log"))
    yield scratch_stage(alf, lambda: setting.longer, setting.scratch, log)
    for agent in AGENTS[1:]:
        yield search_stage(setting.run(agent), agent, setting.path(f"{agent}.log"))


def _pretrain(setting: Setting) -> list[str]:
    words = [sys.executable, "-P", "-m", "prune_gym.cli", "pretrain", "--quiet"]
    for name in ("network", "dataset", "seed", "device", "threads"):
        words += [f"--{name}", str(getattr(setting, name))]
    return [*words, "--epochs", str(setting.baseline_epochs)]


def _has_baseline(setting: Setting) -> bool:
    try:
        baselines.find(setting.network, load_dataset(setting.dataset))
    except WeightsError:
        return False
    return True
