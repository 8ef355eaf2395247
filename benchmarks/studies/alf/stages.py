"""The runs behind ALF's table, each a command that is taken up where it was broken off."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.pieces import CLI
from prune_gym.data import load_dataset
from prune_gym.errors import WeightsError
from prune_gym.networks import pretrained as baselines

LABELS = {"resnet20": "PruneResNet20-v0", "plain20": "PrunePlain20-v0"}
PARAMS, MACS = 0.30, 0.39
"""What the abstract leaves: -70 % of the parameters, -61 % of the operations."""


@dataclass(frozen=True)
class Plan:
    """How much is trained.

    Args:
        network: ``"resnet20"`` or ``"plain20"``.
        dataset: As the command line takes it.
        out: Folder of all runs.
        seed: Of all runs.
        device: ``"cpu"`` or ``"cuda"``.
        threads: Of torch.
        baseline_epochs: Of the baseline, where there is none yet.
        epochs: Of two-player training.
        final_epochs: Of the deployed network.
        from_scratch: Whether ALF starts from fresh weights, as the paper does.
        eval_images: Of the validation subset.
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
        """What makes these runs, without the folders of this machine."""
        kind, _, path = self.dataset.partition(":")
        words = ["python -m benchmarks.studies.alf", f"--network {self.network}"]
        words += [f"--dataset {kind}:PATH" if path else f"--dataset {kind}"]
        for name in ("seed", "device", "threads", "epochs", "final_epochs", "eval_images"):
            words.append(f"--{name.replace('_', '-')} {getattr(self, name)}")
        return " ".join([*words, *(["--from-scratch"] if self.from_scratch else []), "--out RUNS"])

    @property
    def scratch(self) -> Path:
        """The weights of the from-scratch control; its recipe lies beside them."""
        return self.out / f"{self.network}-scratch.safetensors"


@dataclass(frozen=True)
class Stage:
    """One command.

    Args:
        name: For people.
        done: Whether its result is there.
        command: What to run; made when the stages before it are done.
    """

    name: str
    done: Callable[[], bool]
    command: Callable[[], list[str]]


def stages(plan: Plan) -> Iterator[Stage]:
    """All commands of one network, in their order."""
    hardware = ["--device", plan.device, "--threads", str(plan.threads)]
    every = ["--dataset", plan.dataset, "--seed", str(plan.seed), *hardware, "--quiet"]

    def baseline() -> list[str]:
        own = ["--network", plan.network, "--epochs", str(plan.baseline_epochs)]
        return [*CLI, "pretrain", *own, *every]

    yield Stage("baseline", lambda: _has_baseline(plan), baseline)
    own = ["--set", f"epochs={plan.epochs}", "--episodes", "1"]
    own += ["--env", "action_mode=alf", "--env", "scope=all"]
    own += ["--target", f"macs={MACS}", "--target", f"params={PARAMS}"]
    if plan.from_scratch:
        own += ["--set", "from_scratch=true"]
    yield _train(plan, "alf", lambda: own, plan.final_epochs, every)
    # The controls get in their final training what ALF gets in both.
    longer = plan.epochs + plan.final_epochs

    def scratch() -> list[str]:
        shape = ["--shape", str(plan.run("alf") / "best"), "--epochs", str(longer), "--test"]
        return [*CLI, "pretrain", *shape, "--out", str(plan.scratch), *every]

    yield Stage("scratch", plan.scratch.with_suffix(".json").is_file, scratch)
    # Paid for the way to the target alone, so that one untrained episode ends at equal MACs.
    few = ["--set", "candidates=3", "--set", "updates=1", "--env", "reward=target"]
    for agent, more in (("l1", []), ("l2pf", few)):
        equal = [*more, "--episodes", "1", "--target", f"macs={MACS}", "--env", "tolerance=0.5"]
        yield _train(plan, agent, lambda equal=equal: equal, longer, every)  # type: ignore[misc]


def _train(
    plan: Plan, agent: str, own: Callable[[], list[str]], final: float, every: list[str]
) -> Stage:
    folder = plan.run(agent)

    def command() -> list[str]:
        if (folder / "config.json").is_file():
            return [*CLI, "train", "--resume", str(folder), "--quiet"]
        named = ["--agent", agent, "--out", str(folder), "--final-epochs", str(final)]
        images = ["--env", f"eval_images={plan.eval_images}"]
        return [*CLI, "train", LABELS[plan.network], *named, *images, *own(), *every]

    return Stage(agent, (folder / "best" / "report.json").is_file, command)


def _has_baseline(plan: Plan) -> bool:
    try:
        baselines.find(plan.network, load_dataset(plan.dataset))
    except WeightsError:
        return False
    return True
