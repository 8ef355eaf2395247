"""The environment: prune a network space by space, and fine-tune it after each cut."""

import copy
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from gymnasium.error import ResetNeeded

from prune_gym.costs import Costs
from prune_gym.data import Dataset
from prune_gym.envs import sensitivity
from prune_gym.envs.alf_mode import ALFMode
from prune_gym.envs.baseline import Baseline, default_threads, shared_baseline
from prune_gym.envs.config import ENV_REVISION, EnvConfig
from prune_gym.envs.evaluation import Evaluation, Evaluator, make_evaluator
from prune_gym.envs.filter_mode import FilterMode
from prune_gym.envs.mode import Action, Choice, Mode
from prune_gym.envs.reward import make_reward
from prune_gym.envs.sensitivity import Sensitivities
from prune_gym.envs.state import Build, Spent, State, StepRecord
from prune_gym.errors import PruneGymError
from prune_gym.interface import Info
from prune_gym.networks import Network
from prune_gym.pruning.finished import FinishedNetwork

Observation = dict[str, npt.NDArray]
MEMO = 32
"""Number of step results that are remembered: the candidates of one state."""
NO_NETWORK = (
    "A surrogate has no network, only a prediction of its accuracy. Use the real environment, "
    "for example PruneResNet20-v0: prune-gym train PruneResNet20-v0 --env scope=inner --warm-start "
    "surrogate."
)


class PruningEnv(gym.Env[Observation, Action]):
    """Prune or compress a trained CNN, one layer a step, for an accelerator.

    ## Description
    An episode starts from the trained, unpruned network. In each step the agent sees one channel
    space (a layer's filters, or those that layers share) and decides which filters stay and how
    long the network is fine-tuned. The network is then cut physically, repaired without labels,
    fine-tuned and evaluated on a fixed part of the validation split; :mod:`hw_sim` computes its
    cost.

    With ``action_mode="alf"`` a step compresses one convolution instead of removing filters: the
    convolution becomes fewer code filters and a 1 x 1 expansion (:mod:`prune_gym.alf`). The
    following sections describe the mode ``"filters"``; *ALF mode* lists the differences.

    ## Action Space
    ``Dict(mask=MultiBinary(n_max), duration=Box(0, 1, (1,), float32))``. Bit 1 keeps the filter;
    bits of the padded tail are ignored. The duration, times ``max_epochs``, is rounded to
    mini-batches; 0 means no fine-tuning. If the mask is all zero, the filter with the largest norm
    is kept; filters are added by norm until ``min_keep`` and ``round_to`` are met. With a target,
    an action that would put the target out of reach is clipped: of the requested filters, those
    with the lowest L1 norm are dropped (AMC; see :class:`prune_gym.envs.target.Target`).
    ``info["mask"]`` is the executed mask.

    ## Observation Space
    A flat ``Dict`` of 1-D arrays: ``action_mask`` (n_max,), ``layer`` (the entries of
    ``observation.LAYER_FEATURES``, each in [0, 1]), ``progress`` (1,), and either one array
    (n_max,) for each of ``observation.STATISTICS``, or ``weights`` (n_max x m_max, flattened;
    the filters in the unpruned network's layout, with zeros for removed channels).

    ## Rewards
    ``prune + duration_weight * duration``, see :class:`prune_gym.envs.reward.RewardFunction` and,
    for ``reward="target"`` (the default if the target holds a cost),
    :class:`prune_gym.envs.reward.TargetReward`. ``info["rewards"]`` has the components.

    ## Starting State
    The unpruned network. The seed determines order and augmentation of the fine-tuning images.

    ## Episode End
    ``terminated`` after the last space; ``truncated`` when ``search_macs_total`` reaches
    ``search_budget``.

    ## Info
    ``accuracy``, ``score``, ``params``, ``macs``, ``cycles``, ``latency_ms``, ``energy_uj``,
    ``weight_bytes``, ``peak_activation_bytes``, ``params_ratio`` and ``macs_ratio`` (unpruned
    over present), ``cost_ratio`` (of the objective), ``search_macs`` (nominal, see
    :func:`prune_gym.envs.filter_mode.tuning_macs`), ``position``, ``target_met`` (for the present
    network; True without a target), ``action_mask``. After a step also ``mask``,
    ``mask_changed`` (whether the rules above changed the action), ``batches``,
    ``evaluated_images`` (fewer than ``eval_images`` for a hopeless network), ``rewards`` and
    ``seed`` (the seed of the step's random numbers; :meth:`replay` takes it).

    ## ALF mode
    An episode visits every dense convolution with a kernel above 1, including those of the trunk,
    since the number of outputs does not change; ``scope="inner"``, the default of this mode,
    leaves out those that read the images. The action is ``Dict(sparsity=Box(0, 1, (1,)),
    duration=Box(0, 1, (1,)))``: the share of codes to remove (the block's pr_max) and the length of
    the two-player training. Before the training, and without images, the autoencoder is updated as
    many times as in ``max_epochs`` of training; a sparsity above 0 therefore removes codes even at
    duration 0. Sparsity 0 does not compress the convolution and, with duration 0, leaves the
    network unchanged. To meet a target, the sparsity is raised and the codes with the smallest
    mask entries are dropped.

    The observation also has ``codes_alive`` and ``reconstruction_error``, one number for each
    visited convolution. ``info["mask"]`` marks the remaining codes. After a step ``info`` also has
    ``sparsity`` (as executed), ``codes``, ``merged`` (whether the codes and the expansion were
    multiplied back into one convolution), ``reconstruction_error`` and ``autoencoder_updates``.

    ## Surrogate
    With ``surrogate=True``, or under the id ``PruneResNet20-Surrogate-v0``, a fitted regressor
    predicts the accuracy, and no network is cut, trained or evaluated. At thousands of steps a
    second, it is meant for pretraining agents. Costs are exact and the rules are the same. The
    observed statistics and the norms for clipping are those of the unpruned network. The id visits
    the inner spaces, for which its surrogate was fitted. A step draws
    no random numbers, so ``info`` has no ``seed``; it has ``surrogate``, which is True.
    ``search_macs`` and ``search_macs_total`` stay 0: limit agents by steps or episodes. There is
    no network to export or render.

    ## Arguments
    Args:
        network: Name of an architecture, or a trained :class:`prune_gym.networks.Network`.
        dataset: Name of a data set, or a :class:`prune_gym.data.Dataset`.
        render_mode: Kind of picture, ``"ansi"`` or ``"rgb_array"``; None: no rendering.
        arguments: Fields of :class:`prune_gym.envs.config.EnvConfig`, which documents them.

    Raises:
        PruneGymError: If data or weights are missing or do not fit, or a surrogate is not fitted.
        TargetError: If no reachable network meets the target; the message names the best one.
        TypeError: If an argument is unknown; the message names it.
        ValueError: If an argument is out of range; the message names it.

    ## Vectorized environment
    ``gym.make_vec(id, num_envs=2, vectorization_mode="sync" | "async")``.

    ## Version History
    * v0: Initial version. Until release 1.0 the ids stay v0 and ``ENV_REVISION`` counts changes.
    """

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 1}  # noqa: RUF012
    ENV_REVISION = ENV_REVISION

    def __init__(
        self,
        network: str | Network = "resnet20",
        dataset: str | Dataset = "shapes",
        *,
        render_mode: str | None = None,
        **arguments: Any,
    ) -> None:
        self.config = config = EnvConfig(network, dataset, **arguments)
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise ValueError(
                f"render_mode={render_mode!r} is not one of {self.metadata['render_modes']}"
            )
        if render_mode is not None and config.predicted:
            raise PruneGymError("the surrogate has no network to draw; render the real environment")
        self.render_mode = render_mode
        self.threads = config.threads or default_threads()
        torch.set_num_threads(self.threads)
        self.baseline = baseline = shared_baseline(config)
        self.mode, self.evaluator = _mode_and_evaluator(config, baseline)
        self.visited, self.target = self.mode.visited, self.mode.target
        self.max_batches, self.width = self.mode.max_batches, self.mode.observer.width
        self.reward_function = make_reward(config, baseline.accuracy, baseline.costs.of())
        self.action_space: Any = self.mode.action_space
        self.observation_space: Any = self.mode.observer.observation_space()
        self.search_macs_total = 0
        self._start = State(
            module=baseline.module,
            spaces=baseline.network.spaces,
            kept={space.name: np.arange(space.channels) for space in baseline.network.spaces},
            position=0,
            accuracy=baseline.accuracy,
            costs=baseline.costs.of(),
            activation=baseline.activation(self.visited[0]),
        )
        self._state: State | None = None
        self._memo: OrderedDict[Hashable, tuple[Build, Evaluation]] = OrderedDict()

    # The Gymnasium interface

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, Info]:
        """Return to the unpruned network.

        Args:
            seed: New seed of the random generator; None: the generator continues.
            options: Not used.

        Returns:
            The first observation, and ``info``.
        """
        super().reset(seed=seed)
        self._state = self._start
        return self._observe(), self._info(self._start)

    def step(self, action: Action) -> tuple[Observation, float, bool, bool, Info]:
        """Cut or compress, repair, fine-tune, evaluate and compute the reward.

        Args:
            action: ``mask`` of shape (n_max,) and ``duration`` of shape (1,) in [0, 1]; in the ALF
                mode ``sparsity`` and ``duration``, both of shape (1,).

        Returns:
            Observation, reward, terminated, truncated, info.

        Raises:
            ResetNeeded: Before the first reset or after the last space.
            ValueError: If the action has a wrong shape, is not finite or is out of range.
        """
        return self._advance(action, None)

    def replay(self, action: Action, seed: int) -> tuple[Observation, float, bool, bool, Info]:
        """Repeat a recorded step.

        Args:
            action: The action as it was requested or executed.
            seed: ``info["seed"]`` of that step, which replaces the environment's generator.

        Returns:
            The results of :meth:`step`, which also lists the errors.
        """
        if isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= seed < 2**63:
            raise ValueError(f"seed={seed!r} must be a whole number from 0 to 2**63 - 1")
        return self._advance(action, int(seed))

    def _advance(
        self, action: Action, seed: int | None
    ) -> tuple[Observation, float, bool, bool, Info]:
        state = self._unfinished()
        choice = self.mode.parse(state, action)
        drawn = self._draw_seed() if seed is None else seed
        state = self._state = self._take(state, choice, drawn)
        record = state.history[-1]
        self.search_macs_total += record.macs
        terminated = state.position == len(self.visited)
        budget = self.config.search_budget
        truncated = budget is not None and self.search_macs_total >= budget and not terminated
        info = self._step_info(state, drawn)
        return self._observe(), record.reward.total, terminated, truncated, info

    def _take(self, state: State, choice: Choice, seed: int) -> State:
        """The state after a step: cut or compress, repair, fine-tune, evaluate, cost, pay."""
        # Without fine-tuning nothing is drawn, so the seed makes no difference.
        key = state.token, choice.key, seed if choice.batches else 0
        found = self._memo.get(key)
        if found is None:
            build = self.mode.build(state, choice, seed)
            upcoming = self.mode.upcoming(state, build)
            found = build, self.evaluator.evaluate(state, build, upcoming)
            if "memo" in self.config.fast_paths:
                self._memo[key] = found
                if len(self._memo) > MEMO:
                    self._memo.popitem(last=False)
        build, evaluation = found
        build = replace(build, changed=choice.changed or build.changed)
        return self._next_state(state, build, evaluation)

    def _next_state(
        self, state: State, build: Build, evaluation: Evaluation, charged: bool = True
    ) -> State:
        """The state after a build; ``charged``: whether the evaluation's MACs are charged."""
        costs = self.mode.costs.of(build.counts)
        reward = self.reward_function(
            (state.accuracy, state.costs),
            (evaluation.accuracy, costs),
            min(build.batches, self.max_batches),
            self.max_batches,
        )
        record = StepRecord(
            space=build.space.name,
            mask=build.mask,
            changed=build.changed,
            batches=build.batches,
            accuracy=evaluation.accuracy,
            images=evaluation.images,
            costs=costs,
            reward=reward,
            macs=build.macs + (costs.macs * self.evaluator.images if charged else 0),
            block=build.block,
        )
        return State(
            module=build.module,
            spaces=build.spaces,
            kept=build.kept,
            position=state.position + 1,
            accuracy=record.accuracy,
            costs=costs,
            activation=evaluation.activation,
            search_macs=state.search_macs + record.macs,
            history=(*state.history, record),
            token=build.token,
            prefix=(state.token, build.space.name) if build.keeps_prefix else None,
        )

    def render(self) -> Any:
        """Draw the episode so far.

        Returns:
            A table as text (``"ansi"``), or a chart as pixels of shape (height, width, 3)
            (``"rgb_array"``); None without a ``render_mode``.
        """
        from prune_gym.envs import render

        if self.render_mode is None:
            gym.logger.warn("render() without a render_mode: pass render_mode='ansi' to make().")
            return None
        draw = render.table if self.render_mode == "ansi" else render.picture
        return draw(self._present(), self.baseline, self.visited)

    # What agents use in addition

    def snapshot(self) -> State:
        """The present state as a value, including the state of the random generator."""
        random = copy.deepcopy(self.np_random.bit_generator.state)
        return replace(self._present(), random=dict(random))

    def restore(self, state: State) -> tuple[Observation, Info]:
        """Return to a snapshot.

        Args:
            state: Snapshot of an environment with the same arguments.

        Returns:
            Observation and info, equal to the earlier ones except for what depends on
            ``search_macs_total``.

        Raises:
            ValueError: If the snapshot belongs to another network.
        """
        if not isinstance(state, State) or not self.mode.fits(state):
            raise ValueError("the snapshot belongs to an environment with another network")
        self.np_random.bit_generator.state = copy.deepcopy(dict(state.random))
        self._state = replace(state, random={})
        return self._observe(), self._info(self._state)

    def try_actions(self, actions: Sequence[Action]) -> list[tuple[float, Info]]:
        """Reward and info of several actions from the present state, which does not change.

        All actions are tried from the same state, including that of the random generator: a later
        :meth:`step` with one of these actions gives the same result. The MACs of the trials are
        added to ``search_macs_total``.

        Args:
            actions: Actions as for :meth:`step`.

        Returns:
            (reward, info) of each action, in their order.

        Raises:
            ResetNeeded: Before the first reset or after the last space.
            ValueError: If an action has a wrong shape, is not finite or is out of range.
        """
        state = self._unfinished()
        before = copy.deepcopy(self.np_random.bit_generator.state)
        seed = self._draw_seed()
        self.np_random.bit_generator.state = before
        results = []
        for action in actions:
            after = self._take(state, self.mode.parse(state, action), seed)
            self.search_macs_total += after.history[-1].macs
            results.append((after.history[-1].reward.total, self._step_info(after, seed)))
        return results

    def accept(self, network: FinishedNetwork, spent: Spent) -> list[Info]:
        """Use a network that was made elsewhere as the result of a whole episode.

        The network is evaluated once. The records of all steps share its accuracy, so the pruning
        components add up to that of the network. The first step is charged for the training, the
        last one for the evaluation.

        Args:
            network: Network that was derived from the baseline.
            spent: Training that the network took.

        Returns:
            The ``info`` of each step, in the order of the visited spaces, with the additional
            entries ``reward`` and ``duration``.

        Raises:
            ResetNeeded: If the episode has begun.
            ValueError: If the network does not fit the action mode.
        """
        state = self._present()
        if state.position:
            raise ResetNeeded("accept() replaces a whole episode: call reset() first.")
        torch.set_num_threads(self.threads)
        builds = self.mode.accept(state, network)
        accuracy, _ = self.baseline.evaluate(network.module.eval())
        evaluation = Evaluation(accuracy, np.zeros(0, np.float32), self.evaluator.images)
        builds[0] = replace(builds[0], batches=spent.batches, macs=spent.macs)
        infos: list[Info] = []
        for build in builds:
            charged = build is builds[-1]
            state = self._state = self._next_state(state, build, evaluation, charged)
            record = state.history[-1]
            self.search_macs_total += record.macs
            duration = min(1.0, record.batches / self.max_batches)
            result = {"reward": record.reward.total, "duration": duration}
            infos.append(self._step_info(state, None) | result)
        return infos

    @property
    def action_mode(self) -> str:
        """``"filters"`` or ``"alf"``."""
        return self.config.action_mode

    @property
    def predicted(self) -> bool:
        """Whether a surrogate predicts the accuracy; there is no network then."""
        return self.config.predicted

    @property
    def pays_to_target(self) -> bool:
        """Whether the reward is paid for progress towards the target only."""
        return self.config.reward == "target"

    @property
    def network(self) -> Network:
        """The present network, which must not be changed.

        Raises:
            PruneGymError: If a surrogate predicts the accuracy.
        """
        if self.predicted:
            raise PruneGymError(NO_NETWORK)
        return self._present().network(self.baseline.network)

    @property
    def kept(self) -> dict[str, npt.NDArray[np.int64]]:
        """For each space the indices of the kept channels in the unpruned network."""
        return dict(self._present().kept)

    def score(self) -> float:
        """The value of the present network (:meth:`RewardFunction.score`)."""
        state = self._present()
        return self.reward_function.score(state.accuracy, self._cost_ratio(state))

    def costs_of(self, counts: dict[str, int]) -> Costs:
        """The costs of a network with the given counts.

        Args:
            counts: Channels by space; in the ALF mode codes by code space. Spaces that are not
                listed keep all channels.
        """
        return self.mode.costs.of(counts)

    def ratio_for_target(self) -> float | None:
        """The keep ratio of a uniform cut to the target (:meth:`Target.uniform_ratio`).

        Returns:
            A ratio within (0, 1); None if the target limits no cost.
        """
        return self.target.uniform_ratio()

    def ratio_for_rest(self) -> float | None:
        """The same ratio for the remaining layers, after the episode's steps so far.

        Returns:
            A ratio within (0, 1), at an episode's start that of :meth:`ratio_for_target`; None if
            the target limits no cost or no layer remains.

        Raises:
            ResetNeeded: Before the first reset.
        """
        return self.target.ratio_for_rest(self._present().decided())

    def sensitivities(self) -> Sensitivities:
        """What cutting each visited space alone does to the unpruned network's outputs.

        They are measured once for a network and its images, and kept in a file. Their MACs are
        added to ``search_macs_total`` each time.

        Raises:
            PruneGymError: In the ALF mode, and if a surrogate predicts the accuracy.
        """
        if self.predicted or self.action_mode != "filters":
            raise PruneGymError(
                "sensitivities are measured by cutting filters of a real network: use an "
                "environment with surrogate=False and action_mode='filters'"
            )
        torch.set_num_threads(self.threads)
        found, macs = sensitivity.measured(self.baseline, self.visited)
        self.search_macs_total += macs
        return found

    def export(self, folder: str | Path) -> dict[str, Any]:
        """Write the present network as ONNX, torch.export and safetensors files, and check them.

        Args:
            folder: Output folder; it is created if it does not exist.

        Returns:
            The report that is written to the folder, too.

        Raises:
            ExportError: If the outputs of ONNX Runtime differ from those of the network.
            PruneGymError: If a surrogate predicts the accuracy.
        """
        from prune_gym.export import export_network
        from prune_gym.files import write_json

        network, info = self.network, self._info(self._present())
        samples = self.baseline.dataset.validation
        differences = export_network(Path(folder), network, self.kept, samples)
        report: dict[str, Any] = {n: value for n, value in info.items() if np.isscalar(value)}
        report |= {"differences": differences}
        write_json(Path(folder) / "report.json", report)
        return report

    # How it works

    def __getstate__(self) -> dict[str, Any]:
        # Copies begin without remembered steps, which hold networks.
        return {**vars(self), "_memo": OrderedDict()}

    def _draw_seed(self) -> int:
        """The seed of a step. A surrogate draws nothing."""
        return 0 if self.predicted else int(self.np_random.integers(2**62))

    def _observe(self) -> Observation:
        budget, left = self.config.search_budget, 1.0
        if budget is not None:
            left = max(0.0, 1 - self.search_macs_total / budget)
        return self.mode.observer.observe(self._present(), left)

    def _cost_ratio(self, state: State) -> float:
        objective = self.config.objective
        return self.baseline.costs.of().of(objective) / state.costs.of(objective)

    def _info(self, state: State) -> Info:
        full, costs = self.baseline.costs.of(), state.costs
        ratio = self._cost_ratio(state)
        return {
            **({"surrogate": True} if self.predicted else {}),
            "accuracy": state.accuracy,
            "score": self.reward_function.score(state.accuracy, ratio),
            **costs.as_dict(),
            "params_ratio": full.params / costs.params,
            "macs_ratio": full.macs / costs.macs,
            "cost_ratio": ratio,
            "search_macs": state.search_macs,
            "position": state.position,
            "target_met": self.target.met(costs, state.accuracy),
            "action_mask": self.mode.observer.action_mask(state),
        }

    def _step_info(self, state: State, seed: int | None) -> Info:
        info = self._info(state) | self.mode.describe(state.history[-1])
        return info if seed is None or self.predicted else info | {"seed": seed}

    def _present(self) -> State:
        if self._state is None:
            raise ResetNeeded("Call reset() first.")
        return self._state

    def _unfinished(self) -> State:
        state = self._present()
        if state.position >= len(self.visited):
            raise ResetNeeded("The episode has ended: call reset() before step().")
        torch.set_num_threads(self.threads)
        return state


def _mode_and_evaluator(config: EnvConfig, baseline: Baseline) -> tuple[Mode[Any], Evaluator]:
    """The action mode and the evaluator of a configuration."""
    if config.predicted:
        from prune_gym.surrogate.predicted import PredictedEvaluator, PredictedMode

        mode = PredictedMode(config, baseline)
        return mode, PredictedEvaluator(config, baseline, mode.visited)
    evaluator = make_evaluator(config, baseline)
    kind = FilterMode if config.action_mode == "filters" else ALFMode
    return kind(config, baseline, evaluator), evaluator
