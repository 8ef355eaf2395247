"""Replays a benchmark record: actions in, accuracies and costs out."""

from collections.abc import Iterator

import numpy as np

from benchmarks.results import Result
from benchmarks.validate import Tolerance, tolerance
from prune_gym.costs import StepCosts
from prune_gym.envs import PruningEnv
from prune_gym.errors import PruneGymError
from prune_gym.runs.compute import TOLERATED, Compute
from prune_gym.runs.finish import epoch_of, epochs_of, final_options, final_tuning, fine_tune
from prune_gym.runs.records import Episode, Report, Step, best_so_far

CLOSE = 1e-12
"""Relative difference of latencies and energies, which are sums of floats in one order."""


def replay(result: Result, env: PruningEnv, final: bool = False) -> list[str]:
    """Replay a record's steps, and compare its report with their network.

    Args:
        result: The record; episodes without steps are not replayed.
        env: Environment from :func:`benchmarks.validate.make_environment`.
        final: Whether to repeat the final fine-tune, and compare the report's accuracies.

    Returns:
        One line for each difference.
    """
    allowed, report = tolerance(result), result.report
    played = [episode for episode in result.episodes if episode.steps]
    if not played or report is None:
        missing = "no episode has steps" if not played else "there is no report"
        return [f"{result.source}: {missing}, so nothing can be replayed"]
    wrong = [*_setup(result, env, allowed), *_spending(result), *_best(result)]
    for episode in played:
        where = f"{result.source}: episode {episode.number}"
        _check_steps(episode, where, env)
        if [step.space for step in episode.steps] != [space.name for space in env.visited]:
            count = len(episode.steps)
            return [f"{where}: it has {count} steps, here {len(env.visited)} of other layers"]
        if not whole_network(episode) and any(step.seed is None for step in episode.steps):
            return [f"{where}: its steps have no seed, so it cannot be replayed"]
    drifts: list[float] = []
    for episode in played:
        if whole_network(episode):
            wrong += _compare_costs(episode, env)
        else:
            wrong += _replay_episode(result, episode, env, allowed.each, drifts)
    if drifts and np.mean(drifts) > allowed.mean:
        wrong.append(
            f"accuracies differ by {np.mean(drifts):.6f} on average (allowed: {allowed.mean:g})"
        )
    # The last of the best episodes made the run's network.
    wrong += _compare_report(report, played[-1], env)
    if final and not whole_network(played[-1]):
        wrong += _compare_accuracies(report, env, allowed)
    return [f"{result.source}: {line}" for line in wrong]


def whole_network(episode: Episode) -> bool:
    """Whether an agent trained the whole network at once; such steps cannot be replayed."""
    return all(step.seed is None and step.block is not None for step in episode.steps)


def applied(result: Result, final: bool) -> str:
    """What :func:`replay` compared of a record, and how closely."""
    played = [episode for episode in result.episodes if episode.steps]
    if played and whole_network(played[-1]):
        return "costs only: compressed as a whole, their training is not repeated"
    allowed = tolerance(result)
    text = f"accuracies within {allowed.each:g}, {allowed.mean:g} on average ({allowed.why})"
    return text if final else f"{text}; without those after the final fine-tune (--final)"


def _setup(result: Result, env: PruningEnv, allowed: Tolerance) -> Iterator[str]:
    """The unpruned network, on which all scores and ratios depend."""
    setup, baseline = result.setup, env.baseline
    yield from _costs("unpruned network", setup.costs, baseline.costs.of())
    yield from _accuracy("unpruned network", setup.accuracy, baseline.accuracy, allowed.mean)
    channels = {space.name: space.channels for space in baseline.network.spaces}
    if setup.channels != channels:
        yield f"unpruned network: channels are {setup.channels}, here {channels}"


def _spending(result: Result) -> Iterator[str]:
    """Spending grows by each episode at least, and ends the search at the limit."""
    assert result.report is not None
    compute, config, total = result.report.compute, result.setup.config, 0
    most = config.search_budget(compute.epoch).search_macs
    assert most is not None
    assert config.budget is not None
    for number, episode in enumerate(result.episodes):
        where = f"episode {episode.number}"
        if episode.number != number:
            yield f"{where} is at the place of episode {number}"
        if config.episodes is not None and number >= config.episodes:
            yield f"{where}: it began after the limit of {config.episodes} episodes"
        if total >= most:
            yield f"{where}: it began after the search's share of {most:g} MACs was spent"
        if episode.search_macs_total < total + episode.search_macs:
            spent = episode.search_macs_total
            yield f"{where}: search_macs_total is {spent}, less than the sum of its episodes"
        total = episode.search_macs_total
    if compute.search < total:
        yield f"report: its search took {compute.search} MACs, less than its episodes"
    if compute.total > config.budget * (1 + TOLERATED):
        yield f"report: it took {compute.total:.3f} of {config.budget:g} epoch-equivalents"


def _best(result: Result) -> Iterator[str]:
    """Each episode that was the best so far has its steps, and ends as they do."""
    best = best_so_far(result.setup, result.episodes)
    for episode, is_best in zip(result.episodes, best, strict=True):
        where = f"episode {episode.number}"
        if is_best and not episode.steps:
            yield f"{where}: it was the best so far and has no steps, so it cannot be replayed"
        if episode.steps and not is_best:
            yield f"{where}: it has steps and was not the best so far"
        if episode.steps:
            last = episode.steps[-1]
            if (episode.accuracy, episode.costs) != (last.accuracy, last.costs):
                yield f"{where}: accuracy and costs are not those of its last step"


def _check_steps(episode: Episode, where: str, env: PruningEnv) -> None:
    """Refuse values that the environment cannot take."""
    for number, step in enumerate(episode.steps):
        if any(kept >= env.width for kept in step.kept):
            raise PruneGymError(
                f"{where}, step {number}: kept={list(step.kept)} names a filter that does not "
                "exist: it was edited. Run it again, or leave it out."
            )
        if step.block is not None and env.action_mode != "alf":
            raise PruneGymError(
                f"{where}, step {number}: it has a block, the environment's action_mode is "
                f"{env.action_mode!r}: it was edited. Run it again, or leave it out."
            )


def _replay_episode(
    result: Result, episode: Episode, env: PruningEnv, allowed: float, drifts: list[float]
) -> list[str]:
    """Replay an episode; the differences of its accuracies are added to ``drifts``."""
    where = f"episode {episode.number}"
    env.reset(seed=result.seed)
    if episode.number == 0 and episode.steps[0].seed != int(env.np_random.integers(2**62)):
        return [f"{where}: the seed of its first step is not one that seed {result.seed} draws"]
    wrong: list[str] = []
    for number, step in enumerate(episode.steps):
        assert step.seed is not None
        *_, info = env.replay(_action(step, env), step.seed)
        at = f"{where}, step {number} ({step.space})"
        if tuple(np.flatnonzero(info["mask"]).tolist()) != step.kept:
            wrong.append(f"{at}: it keeps {len(step.kept)} filters, others are executed here")
        wrong += _costs(at, step.costs, env.snapshot().costs)
        wrong += _accuracy(at, step.accuracy, info["accuracy"], allowed)
        drifts.append(abs(info["accuracy"] - step.accuracy))
    if episode.search_macs != info["search_macs"]:
        wrong.append(f"{where}: search_macs is {episode.search_macs}, here {info['search_macs']}")
    return wrong


def _action(step: Step, env: PruningEnv) -> dict[str, np.ndarray]:
    duration = np.array([step.duration], np.float32)
    if step.block is not None:
        return {"sparsity": np.array([step.block.sparsity], np.float32), "duration": duration}
    mask = np.zeros(env.width, np.int8)
    mask[list(step.kept)] = 1
    return {"mask": mask, "duration": duration}


def _compare_costs(episode: Episode, env: PruningEnv) -> Iterator[str]:
    """Costs of a network that was compressed as a whole."""
    codes: dict[str, int] = {}
    for number, step in enumerate(episode.steps):
        codes[step.space] = _codes(step)
        where = f"episode {episode.number}, step {number} ({step.space})"
        yield from _costs(where, step.costs, env.costs_of(codes))


def _codes(step: Step) -> int:
    assert step.block is not None
    return step.block.codes


def _costs(where: str, recorded: StepCosts, found: StepCosts) -> Iterator[str]:
    here = found.as_dict()
    for name, value in recorded.as_dict().items():
        exact = isinstance(value, int)
        if not np.isclose(value, here[name], rtol=0 if exact else CLOSE, atol=0):
            yield f"{where}: {name} is {value}, here {here[name]}"


def _accuracy(where: str, recorded: float, found: float, allowed: float) -> Iterator[str]:
    if abs(recorded - found) > allowed:
        yield f"{where}: accuracy is {recorded:.6f}, here {found:.6f} (allowed: {allowed:g})"


# The report


def _compare_report(report: Report, episode: Episode, env: PruningEnv) -> Iterator[str]:
    """Costs and channels of the report, compared with the network of the best episode."""
    if whole_network(episode):
        codes = {step.space: _codes(step) for step in episode.steps}
        yield from _costs("report", report.costs, env.costs_of(codes))
        if dict(report.codes) != codes:
            yield f"report: codes are {dict(report.codes)}, here {codes}"
        return
    state = env.snapshot()
    yield from _costs("report", report.costs, state.costs)
    left = state.counts()
    channels = {space.name: left[space.name] for space in env.baseline.network.spaces}
    if dict(report.channels) != channels:
        yield f"report: channels are {dict(report.channels)}, here {channels}"
    config, compute, baseline = report.setup.config, report.compute, env.baseline
    length = final_tuning(baseline, report.costs, config, compute.search)
    wanted = {
        "final_epochs": epochs_of(baseline, length.batches),
        "final_seed": config.seed,
        "compute": Compute(epoch_of(baseline), compute.search, length.tuning, length.teacher),
    }
    for name, value in wanted.items():
        if getattr(report, name) != value:
            yield f"report: {name} is {getattr(report, name)}, the run's is {value}"


def _compare_accuracies(report: Report, env: PruningEnv, allowed: Tolerance) -> Iterator[str]:
    """Accuracies of the report, compared with those of a repeated final fine-tune.

    A network that was not fine-tuned differs as much as after its last step: the repair of a
    collapsed network amplifies rounding, and only training evens it out.
    """
    state = env.snapshot()
    options = final_options(report.setup.config)
    epochs, seed = report.final_epochs, report.final_seed
    _, validation, test = fine_tune(env.baseline, state, epochs, seed, options)
    for split, found in (("validation", validation), ("test", test)):
        for name, value in vars(getattr(report, split)).items():
            if value is not None:
                tuned = name == "final" and report.final_epochs > 0
                most = allowed.final if tuned or name == "unpruned" else allowed.each
                where = f"report, {split}, {name}"
                yield from _accuracy(where, value, getattr(found, name), most)
