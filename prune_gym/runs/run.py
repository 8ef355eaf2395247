"""A run: search with an agent, keep the best network, fine-tune and export it."""

import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
from tqdm import tqdm

from prune_gym.envs import PruningEnv
from prune_gym.envs.state import State
from prune_gym.errors import PruneGymError, Stopped
from prune_gym.export import ONNX, PT2
from prune_gym.files import FULL, check_space
from prune_gym.interface import Agent, Budget, Callback
from prune_gym.provenance import machine, versions
from prune_gym.registration import SURROGATE, make_environment, real_environment
from prune_gym.runs import agents, checkpoint
from prune_gym.runs import folder as files
from prune_gym.runs.config import LIMITS, RunConfig
from prune_gym.runs.finish import epoch_of, finish, load_searched
from prune_gym.runs.recorder import Recorder
from prune_gym.runs.records import Report, Setup
from prune_gym.surrogate.predicted import PredictedEvaluator
from prune_gym.trust import trusting


class Run:
    """A search for a smaller network, and its files.

    ``Run(config).start()`` does what ``prune-gym train`` does. The folder then holds
    ``config.json``, ``episodes.jsonl``, ``tensorboard/``, ``policy/`` and the exported network in
    ``best/``. Everything that could fail at the end is checked before the folder is made.

    Args:
        config: Configuration of the run.
        quiet: Whether to hide the progress bars.

    Attributes:
        config: The configuration with all hyperparameters of the agent.
        folder: The run's folder.

    Raises:
        UnknownNameError: If the agent or one of its hyperparameters is unknown.
        PruneGymError: If the configuration has no folder.
    """

    def __init__(self, config: RunConfig, quiet: bool = False) -> None:
        self.config, self.quiet = agents.completed(config), quiet
        self.folder = config.folder

    @classmethod
    def open(cls, folder: str | Path, quiet: bool = False, trust: Iterable[str] = ()) -> "Run":
        """A run that was started before, for :meth:`finish` or for its configuration.

        Args:
            folder: Folder of the run.
            quiet: Whether to hide the progress bars.
            trust: Code (``"package.module:object"``) that may be imported if the run's files name
                it: an agent or a network of the user's own.

        Raises:
            PruneGymError: If the folder holds no run.
            UntrustedError: If its files name code that is not trusted.
        """
        setup = files.read_setup(Path(folder))
        with trusting(trust):
            agents.check_trusted(setup.config, repr(str(Path(folder) / files.CONFIG)))
        return cls(replace(setup.config, out=str(folder)), quiet)

    def start(self, overwrite: bool = False) -> Report:
        """Search, then fine-tune and export the best network.

        Args:
            overwrite: Whether to replace an earlier run in the folder.

        Returns:
            The result, as written to ``best/report.json``.

        Raises:
            PruneGymError: If an argument, data or weights are wrong, the folder is not empty, or
                no episode was finished within the budget.
            ExportError: If the network cannot be exported and the configuration requires it.
            Stopped: After Ctrl-C; what was found is saved.
        """
        files.check_free(self.folder, overwrite)
        env, surrogate, agent = self._make()
        exportable = self._exportable(real_environment(env))
        setup = describe(self.config, real_environment(env), surrogate)
        with files.claimed(self.folder):
            files.clear(self.folder, overwrite)
            files.write_setup(self.folder, setup)
            return self._search_and_finish(setup, env, surrogate, agent, exportable)

    @classmethod
    def resume(
        cls,
        folder: str | Path,
        *,
        episodes: int | None = None,
        steps: int | None = None,
        search_macs: int | None = None,
        seconds: float | None = None,
        budget: float | None = None,
        final_epochs: float | None = None,
        quiet: bool = False,
        trust: Iterable[str] = (),
    ) -> Report:
        """Continue a run that was stopped or killed.

        The result is that of a run that was not interrupted. At most the episode that was being
        played is lost.

        Args:
            folder: Folder of the run.
            episodes: New limit of the search. If any limit is given, all old ones are dropped; what
                was spent before counts.
            steps: New limit of the search.
            search_macs: New limit of the search.
            seconds: New limit of the search.
            budget: Epoch-equivalents of the whole run; the run's own by default.
            final_epochs: Epochs of the final fine-tune; the run's own by default.
            quiet: Whether to hide the progress bars.
            trust: Code that may be imported, see :meth:`open`.

        Returns:
            The result, as written to ``best/report.json``.

        Raises:
            PruneGymError: If the folder holds no run, the run is finished, or the environment is
                not the one in which it was started.
            UntrustedError: If the run's files name code that is not trusted.
            Stopped: After Ctrl-C; what was found is saved.
        """
        run = cls.open(folder, quiet, trust)
        run._check_unfinished()
        given = (episodes, steps, search_macs, seconds)
        limits: dict[str, Any] = dict(zip(LIMITS, given, strict=True))
        if any(value is not None for value in limits.values()):
            run.config = replace(run.config, **limits)
        if budget is not None:
            run.config = replace(run.config, budget=budget, final_epochs=final_epochs)
        elif final_epochs is not None:
            run.config = replace(run.config, final_epochs=final_epochs)
        env, surrogate, agent = run._make()
        exportable = run._exportable(real_environment(env))
        with files.claimed(run.folder):
            run._check_unfinished()  # another process may have finished it meanwhile
            setup = run._check_same(real_environment(env))
            setup = replace(setup, config=replace(run.config, out=None))
            files.write_setup(run.folder, setup)
            return run._search_and_finish(setup, env, surrogate, agent, exportable, resumed=True)

    def finish(self, final_epochs: float | None = None, seed: int | None = None) -> Report:
        """Fine-tune and export the best network of a stopped search.

        :meth:`start` and :meth:`resume` do it at their end.

        Args:
            final_epochs: Epochs of the final fine-tune. None: the run's own, or what its budget
                leaves.
            seed: Seed of the final fine-tune; the run's own by default.

        Returns:
            The result, as written to ``best/report.json``.

        Raises:
            PruneGymError: If the run is finished already, no episode was finished, or the
                environment is not the one in which the run was started.
            Stopped: After Ctrl-C.
        """
        seed = self.config.seed if seed is None else seed
        changes: dict[str, Any] = {} if final_epochs is None else {"budget": None}
        epochs = self.config.final_epochs if final_epochs is None else final_epochs
        config = replace(self.config, final_epochs=epochs, seed=seed, **changes)
        with files.claimed(self.folder):
            self._check_unfinished()
            if (found := checkpoint.find(self.folder)) is not None:
                checkpoint.hold_episodes(self.folder, checkpoint.read(found))
            if not (episodes := files.read_episodes(self.folder)):
                raise PruneGymError(
                    f"No episode of {str(self.folder)!r} was finished. Continue the search with: "
                    f"prune-gym train --resume {self.folder}"
                )
            env = real_environment(self.environment())
            setup = self._check_same(env)
            best, exportable = load_searched(self.folder, env), self._exportable(env)
            spent = episodes[-1].search_macs_total
            return self._finish(setup, config, env, best, spent, exportable)

    def environment(self, changes: Mapping[str, Any] | None = None) -> gym.Env:
        """The environment of the run, reset.

        Args:
            changes: Arguments that replace the run's own.

        Raises:
            UnknownNameError: If an argument is unknown.
            PruneGymError: If data or weights are missing or not those of the run's start.
        """
        changes = dict(changes or {})
        env = make_environment(self.config.env_id, {**self.config.env_arguments, **changes})
        env.reset(seed=self.config.seed)
        # Data or weights that the caller names are wanted.
        if (self.folder / files.CONFIG).is_file() and not {"weights", "dataset"} & set(changes):
            then, now = files.read_setup(self.folder).hashes, hashes(real_environment(env))
            for name in ("weights", "dataset"):
                if then[name] != now[name]:
                    raise PruneGymError(
                        f"{str(self.folder)!r} was made with {name} {then[name][:12]}, here it is "
                        f"{now[name][:12]}: another baseline or other images. Name the "
                        "right ones (--weights, --dataset), or start a new run."
                    )
        return env

    # How it works

    def _make(self) -> tuple[gym.Env, gym.Env | None, Agent]:
        """Environment, surrogate of the warm start, and agent; all checked."""
        config = self.config
        env = make_environment(config.env_id, config.env_arguments)
        real_environment(env)
        surrogate = None
        if config.warm_start:
            arguments = gym.spec(config.env_id).kwargs | dict(config.env_arguments)
            # The surrogate's id has a scope of its own, but the agent has to meet the same spaces.
            scope = real_environment(env).config.scope
            surrogate = make_environment(SURROGATE, arguments | {"scope": scope})
        agent = agents.make(config, env)
        env.reset(seed=config.seed)
        return env, surrogate, agent

    def _exportable(self, env: PruningEnv) -> bool:
        """Whether the unpruned network can be exported; a warning says so if it cannot."""
        error = env.baseline.export_error
        if error is None:
            return True
        if self.config.require_export:
            raise error
        gym.logger.warn("%s The pruned network will be saved without %s and %s.", error, ONNX, PT2)
        return False

    def _check_unfinished(self) -> None:
        if files.finished(self.folder):
            raise PruneGymError(
                f"{str(self.folder)!r} is finished, and its report has used the test split: it "
                "cannot be resumed or exported again. Start a new run."
            )

    def _check_same(self, env: PruningEnv) -> Setup:
        """The setup with which the run was started; the environment must be the same."""
        setup = files.read_setup(self.folder)
        now = hashes(env) | {"env_revision": env.ENV_REVISION, "threads": env.threads}
        then = {**setup.hashes, "env_revision": setup.env_revision, "threads": setup.threads}
        for name, value in now.items():
            if then[name] != value:
                raise PruneGymError(
                    f"{str(self.folder)!r} was started with {name} {then[name]}, here it is "
                    f"{value}: a mixed result would be meaningless. Start a new run."
                )
        return setup

    def _search_and_finish(
        self,
        setup: Setup,
        env: gym.Env,
        surrogate: gym.Env | None,
        agent: Agent,
        exportable: bool,
        resumed: bool = False,
    ) -> Report:
        inner = real_environment(env)
        budget = self.config.search_budget(epoch_of(inner.baseline))
        # Weights of policy, best network and two checkpoints, and the exported files.
        check_space(self.folder, 2 * FULL + 8 * 4 * inner.baseline.geometry.params())
        with closing(Recorder(self.folder, inner, setup, budget, self.quiet)) as recorder:
            # Outside of the try: a damaged checkpoint must not cost the trained policy.
            restored = resumed and recorder.restore(agent)
            try:
                if not restored and surrogate is not None:
                    warm_start(agent, surrogate, self.config.warm_start, self.quiet)
                    recorder.restart_clock()
                budget.restart_clock(recorder.wall_seconds())
                agent.learn(budget, recorder)
            except KeyboardInterrupt as stopped:
                if recorder.best is None:
                    raise Stopped(
                        "Stopped before the first episode ended: there is no network yet. "
                        f"Continue with: prune-gym train --resume {self.folder}"
                    ) from stopped
                raise Stopped(
                    f"Stopped. The best network so far is in {self.folder / files.BEST}. Continue "
                    f"with prune-gym train --resume {self.folder}, or finish with prune-gym export "
                    f"{self.folder}"
                ) from stopped
            finally:
                files.save_policy(self.folder, agent)
        if recorder.best is None:
            raise PruneGymError(
                "No episode was finished within the budget, so there is nothing to export. Resume "
                "with a larger limit of episodes, steps, search_macs or seconds (--minutes)."
            )
        spent = inner.search_macs_total
        report = self._finish(setup, self.config, inner, recorder.best, spent, exportable)
        env.close()
        return report

    def _finish(
        self,
        setup: Setup,
        config: RunConfig,
        env: PruningEnv,
        best: State,
        search_macs: int,
        exportable: bool,
    ) -> Report:
        """Fine-tune and export; ``config`` has the length and the seed of the final fine-tune."""
        try:
            return finish(
                self.folder, env, best, setup, config, search_macs, self.quiet, exportable
            )
        except KeyboardInterrupt as stopped:
            raise Stopped(
                "Stopped in the final fine-tune; the search is kept. Continue with: prune-gym "
                f"train --resume {self.folder}"
            ) from stopped


def describe(config: RunConfig, env: PruningEnv, surrogate: gym.Env | None = None) -> Setup:
    """The setup of a run; ``surrogate`` is the environment of its warm start."""
    evaluator = getattr(surrogate.unwrapped, "evaluator", None) if surrogate else None
    fitted = evaluator.surrogate if isinstance(evaluator, PredictedEvaluator) else None
    return Setup(
        config=replace(config, out=None),
        accuracy=env.baseline.accuracy,
        costs=env.baseline.costs.of(),
        channels={space.name: space.channels for space in env.baseline.network.spaces},
        hashes=hashes(env),
        env_revision=env.ENV_REVISION,
        threads=env.threads,
        versions=versions(),
        machine=machine(str(env.baseline.device)),
        started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        surrogate=None if fitted is None else fitted.facts["sha256"],
    )


def warm_start(agent: Agent, surrogate: gym.Env, episodes: int, quiet: bool = False) -> None:
    """Let an agent learn in the surrogate first; afterwards it has its own environment again."""

    class Bar(Callback):
        def on_episode(self, number: int, env: gym.Env, infos: list[dict[str, Any]]) -> None:
            bar.update(1)
            bar.set_postfix_str(f"predicted score {infos[-1]['score']:+.3f}", refresh=False)

    real = agent.env
    with tqdm(total=episodes, desc="surrogate", unit="episode", disable=quiet) as bar:
        agent.env = surrogate
        try:
            agent.learn(Budget(episodes=episodes), Bar())
        finally:
            agent.env = real


def hashes(env: PruningEnv) -> dict[str, str]:
    """SHA-256 of the weights, images and accelerator of an environment."""
    return {
        "weights": env.baseline.weights_hash,
        "dataset": env.baseline.dataset.fingerprint,
        "accelerator": env.baseline.costs.accelerator.fingerprint,
    }
