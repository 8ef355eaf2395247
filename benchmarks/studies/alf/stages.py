"""The runs of ALF's table, each a stage that continues after an interruption."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.stages import CLI, Stage
from prune_gym.data import load_dataset
from prune_gym.errors import WeightsError
from prune_gym.networks import pretrained as baselines

ENVIRONMENTS = {"resnet20": "PruneResNet20-v0", "plain20": "PrunePlain20-v0"}
PARAMS, MACS = 0.30, 0.39
"""Shares that the abstract's networks keep: -70 % of the parameters, -61 % of the operations."""


@dataclass(frozen=True)
class Setting:
    """The setting of the study.

    Args:
        network: ``"resnet20"`` or ``"plain20"``.
        dataset: Name of the data set, as on the command line.
        out: Folder of all runs.
        seed: Seed of all runs.
        device: ``"cpu"`` or ``"cuda"``.
        threads: Number of torch's threads.
        baseline_epochs: Epochs of the baseline, if there is none yet.
        epochs: Epochs of two-player training.
        final_epochs: Epochs of the final fine-tuning.
        from_scratch: Whether ALF starts from fresh weights, as the paper does.
        eval_images: Size of the validation subset.
    """

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

    def run(self, agent: str) -> Path:
        """The folder of an agent's run."""
        return self.out / f"{self.network}-{agent}"

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
    def scratch(self) -> Path:
        """The weights of the from-scratch control; its recipe is beside them."""
        return self.out / f"{self.network}-scratch.safetensors"

    def log(self, stage: str) -> Path:
        """The log of a stage."""
        return self.out / f"{self.network}-{stage}.log"


def stages(setting: Setting) -> Iterator[Stage]:
    """All stages of one network, in order."""
    hardware = ["--device", setting.device, "--threads", str(setting.threads)]
    every = ["--dataset", setting.dataset, "--seed", str(setting.seed), *hardware, "--quiet"]

    def baseline() -> list[str]:
        own = ["--network", setting.network, "--epochs", str(setting.baseline_epochs)]
        return [*CLI, "pretrain", *own, *every]

    yield Stage("baseline", lambda: _has_baseline(setting), baseline, setting.log("baseline"))
    own = ["--set", f"epochs={setting.epochs}", "--episodes", "1"]
    own += ["--env", "action_mode=alf", "--env", "scope=all"]
    own += ["--target", f"macs={MACS}", "--target", f"params={PARAMS}"]
    if setting.from_scratch:
        own += ["--set", "from_scratch=true"]
    yield _train(setting, "alf", lambda: own, setting.final_epochs, every)
    # The controls get in their final fine-tuning what ALF gets in both trainings.
    longer = setting.epochs + setting.final_epochs

    def scratch() -> list[str]:
        shape = ["--shape", str(setting.run("alf") / "best"), "--epochs", str(longer), "--test"]
        return [*CLI, "pretrain", *shape, "--out", str(setting.scratch), *every]

    recipe = setting.scratch.with_suffix(".json")
    yield Stage("scratch", recipe.is_file, scratch, setting.log("scratch"))
    # Paid for the way to the target alone, so that one untrained episode ends at equal MACs.
    few = ["--set", "candidates=3", "--set", "updates=1", "--env", "reward=target"]
    for agent, more in (("l1", []), ("l2pf", few)):
        equal = [*more, "--episodes", "1", "--target", f"macs={MACS}", "--env", "tolerance=0.5"]
        yield _train(setting, agent, lambda equal=equal: equal, longer, every)  # type: ignore[misc]


def _train(
    setting: Setting, agent: str, own: Callable[[], list[str]], final: float, every: list[str]
) -> Stage:
    folder = setting.run(agent)

    def command() -> list[str]:
        if (folder / "config.json").is_file():
            return [*CLI, "train", "--resume", str(folder), "--quiet"]
        named = ["--agent", agent, "--out", str(folder), "--final-epochs", str(final)]
        images = ["--env", f"eval_images={setting.eval_images}"]
        return [*CLI, "train", ENVIRONMENTS[setting.network], *named, *images, *own(), *every]

    return Stage(agent, (folder / "best" / "report.json").is_file, command, setting.log(agent))


def _has_baseline(setting: Setting) -> bool:
    try:
        baselines.find(setting.network, load_dataset(setting.dataset))
    except WeightsError:
        return False
    return True
