"""Checks of benchmark records before they are replayed, and the replay's tolerance."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import tasks
from benchmarks.results import ANONYMOUS, Result
from prune_gym import registration
from prune_gym.envs import PruningEnv
from prune_gym.errors import PruneGymError
from prune_gym.provenance import machine, versions
from prune_gym.runs.agents import check_trusted
from prune_gym.runs.run import hashes


@dataclass(frozen=True)
class Tolerance:
    """The largest differences of a replay's accuracies from a record's.

    Args:
        each: Difference of each accuracy in the search.
        mean: Mean difference over all steps of a record; a change of all of them is found by it.
        final: Difference after the final fine-tune, on whole splits.
        why: Reason for these numbers.
    """

    each: float
    mean: float
    final: float
    why: str


SAME = 1e-5, 1e-5, 1e-5
OTHER = 0.15, 0.03, 0.06
"""On the record's kind of machine with its versions, and elsewhere (docs/benchmark.md)."""


def tolerance(result: Result) -> Tolerance:
    """The tolerance for a record on this machine."""
    then, now = result.setup.machine, machine("cpu")
    own, here = result.setup.versions, versions()
    other = [name for name in ("torch", "numpy", "python") if own.get(name) != here.get(name)]
    # A record without its microarchitecture may have been made on any.
    kinds = ("processor", "microarchitecture", "vector", "device")
    labels = {"vector": "vector instructions"}
    other += [labels.get(name, name) for name in kinds if then.get(name) != now[name]]
    if other:
        return Tolerance(*OTHER, f"other {', '.join(other)}")
    return Tolerance(*SAME, "same microarchitecture, vector instructions, versions and threads")


def check_replayable(result: Result) -> None:
    """Refuse a record that belongs to no task or has another version or configuration."""
    if result.task is None:
        raise PruneGymError(
            f"{result.source} belongs to no task, so its settings cannot be checked."
        )
    name, version = result.task
    task = tasks.find(name)
    if version != task.version:
        raise PruneGymError(
            f"{result.source} is of version {version} of {name!r}, here it is {task.version}. "
            "Replay it with the release that wrote it, or run it again."
        )
    setup = result.setup
    if setup.env_revision != PruningEnv.ENV_REVISION:
        raise PruneGymError(
            f"{result.source} is of environment revision {setup.env_revision}, here it is "
            f"{PruningEnv.ENV_REVISION}. Replay it with the release that wrote it."
        )
    config = setup.config
    # The hashes identify the data, and an agent may turn on the action mode that it needs.
    free = ("threads", "dataset", "device", "action_mode")
    given = {name: value for name, value in config.env_arguments.items() if name not in free}
    for what, own, wanted in (
        ("environment", config.env_id, task.env_id),
        ("env_arguments", given, dict(task.environment)),
        ("budget", config.budget, task.budget),
        ("search_share", config.search_share, task.search_share),
        # An agent without a search plays one episode.
        ("limits", {"episodes": 1, **config.limits}, {"episodes": 1}),
    ):
        if own != wanted:
            raise PruneGymError(
                f"{result.source}: {what} is {own}, the task {name!r} has {wanted}: the record was "
                "edited, or made by hand. Run the task."
            )


def make_environment(result: Result, dataset: str | None = None) -> PruningEnv:
    """The environment that a record was made in, with the images of this machine if named.

    Other weights, images or accelerators than the record's are refused.
    """
    setup = result.setup
    check_trusted(setup.config, result.source)
    given = dict(setup.config.env_arguments)
    if dataset is not None:
        given["dataset"] = dataset
    elif given.get("dataset") == ANONYMOUS:
        raise PruneGymError(
            f"{result.source} was made with images of a folder (SHA-256 "
            f"{setup.hashes['dataset'][:12]}). Name it: --dataset {ANONYMOUS}"
        )
    env = registration.make_environment(setup.config.env_id, given).unwrapped
    assert isinstance(env, PruningEnv)
    if setup.threads != env.threads:
        raise PruneGymError(
            f"{result.source}: threads is {setup.threads}, its environment has {env.threads}: it "
            "was edited. Run it again, or leave it out."
        )
    for name, value in hashes(env).items():
        if setup.hashes[name] != value:
            raise PruneGymError(
                f"{result.source}: the hash of its {name} is {setup.hashes[name][:12]}, here it is "
                f"{value[:12]}: it can be replayed only with its own."
            )
    return env


def find_copies(results: Sequence[Result]) -> tuple[list[str], list[str]]:
    """Lines about records with the steps of another seed's run, and about repeated records.

    A step's seed is drawn from 62 bits by the run's own seed, so two runs share none.
    """
    wrong, repeats = list[str](), list[str]()
    drawn: dict[int, Result] = {}
    known: list[Result] = []
    for result in results:
        for seed in {s.seed for e in result.episodes for s in e.steps if s.seed is not None}:
            other = drawn.setdefault(seed, result)
            if other.seed != result.seed:
                wrong.append(f"{result.source}: it has steps of {other.source}, of another seed")
                break
        facts = result.task, result.setup, result.episodes
        same = (each for each in known if facts == (each.task, each.setup, each.episodes))
        if twin := next(same, None):
            repeats.append(f"{result.source} repeats {twin.source}: tables count it once")
        else:
            known.append(result)
    return wrong, repeats
