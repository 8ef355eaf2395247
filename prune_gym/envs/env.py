"""The environment: walk through a network, choose filters and fine-tuning, space by space."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from gymnasium.error import ResetNeeded
from torch import nn

from prune_gym.data import Dataset
from prune_gym.envs.actions import Action
from prune_gym.envs.arguments import check_arguments
from prune_gym.envs.baseline import BaselineOptions, default_threads, shared_baseline
from prune_gym.envs.evaluation import checked_fast
from prune_gym.envs.mode import ModeSettings, check_mode, make_mode
from prune_gym.envs.reward import TargetReward, make_reward
from prune_gym.envs.state import State
from prune_gym.envs.stepping import StepSettings
from prune_gym.envs.target import ACCURACY, checked_target
from prune_gym.networks import Network
from prune_gym.training import TrainingOptions

Observation = dict[str, npt.NDArray]


class PruningEnv(gym.Env[Observation, Action]):
    """Prune or compress a trained CNN, one layer a step, for an accelerator.

    ## Description
    An episode starts from the trained, unpruned network. At each step the agent sees one channel
    space (a layer's filters), says which filters stay and how long the network is fine-tuned.
    The network is then cut physically, repaired without labels, fine-tuned, evaluated on a fixed
    part of the validation split, and its cost is read from :mod:`hw_sim`.

    With ``action_mode="alf"`` a step compresses one convolution in place of removing filters: it
    becomes fewer code filters and a 1 x 1 expansion (:mod:`prune_gym.alf`). What follows is of the
    mode ``"filters"``; what is another in the ALF mode stands under *ALF mode*.

    ## Action Space
    ``Dict(mask=MultiBinary(n_max), duration=Box(0, 1, (1,), float32))``. Bit 1 keeps the filter;
    bits of the padded tail are ignored. The duration, times ``max_epochs``, is rounded to
    mini-batches; 0 is no fine-tuning. Of an all-zero mask the filter with the largest norm is
    kept, and filters are added by norm until ``min_keep`` and ``round_to`` hold. With a target an
    action after which it could not be met any more is clipped: of the filters that were asked
    for, those of the lowest L1 norm are dropped (AMC; see :class:`prune_gym.envs.target.Target`).
    ``info["mask"]`` holds the mask that was executed.

    ## Observation Space
    A flat ``Dict`` of 1-D arrays: ``action_mask`` (n_max,), ``layer`` (the entries of
    ``observation.LAYER_FEATURES``, each in [0, 1]), ``progress`` (1,), and either one array
    (n_max,) for each of ``observation.STATISTICS``, or ``weights`` (n_max x m_max, flattened;
    the filters in the unpruned network's layout, zero where a channel is gone).

    ## Rewards
    ``prune + duration_weight * duration``, see :class:`prune_gym.envs.reward.RewardFunction` and
    for ``reward="target"`` :class:`prune_gym.envs.reward.TargetReward`; the components stand in
    ``info["rewards"]``.

    ## Starting State
    The unpruned network. The seed decides the order and augmentation of the fine-tuning images.

    ## Episode End
    ``terminated`` after the last space; ``truncated`` when ``search_macs_total`` has reached
    ``search_budget``.

    ## Info
    ``accuracy``, ``score``, ``params``, ``macs``, ``cycles``, ``latency_ms``, ``energy_uj``,
    ``weight_bytes``, ``peak_activation_bytes``, ``params_ratio`` and ``macs_ratio`` (unpruned
    over present), ``cost_ratio`` (of the objective), ``search_macs`` (nominal, see
    :meth:`prune_gym.envs.stepping.Stepper.tuning_macs`), ``position``, ``target_met`` (by the
    present network; True without a target), ``action_mask``; after a step also ``mask``,
    ``mask_changed`` (whether the rules above changed the action), ``batches``,
    ``evaluated_images`` (fewer than ``eval_images`` where a network is hopeless), ``rewards``, and
    ``seed`` (of what the step drew; :meth:`replay` takes it).

    ## ALF mode
    Every dense convolution with a kernel above 1 is visited, the trunk's too, as its outputs stay
    as many. The action is ``Dict(sparsity=Box(0, 1, (1,)), duration=Box(0, 1, (1,)))``: the share
    of codes to remove (the block's pr_max), and the length of two-player training. The autoencoder
    is updated as often as ``max_epochs`` of it would do, before it and without images, so a
    sparsity above 0 removes codes at duration 0 too. Sparsity 0 leaves the convolution whole, and
    with duration 0 the network as it is. With a target the sparsity is raised, and codes of the
    smallest mask entries are dropped, so far as it needs.

    The observation also has ``codes_alive`` and ``reconstruction_error``, one number for each
    visited convolution. ``info["mask"]`` holds the codes that are left; after a step there are
    also ``sparsity`` (as executed), ``codes``, ``merged`` (whether it is one convolution),
    ``reconstruction_error`` and ``autoencoder_updates``.

    ## Arguments
    Args:
        network: An architecture's name, or the user's own trained :class:`Network`.
        dataset: ``"shapes"``, ``"cifar10"``, ``"imagefolder:PATH"``, or a :class:`Dataset`.
        weights: A safetensors file in place of the baseline's.
        image_size: Height and width that an image folder is resized to.
        order: ``"forward"`` (input to output) or ``"backward"``.
        scope: ``"inner"`` (spaces with one producer; in the ALF mode convolutions that do not read
            the images) or ``"all"``.
        observation: ``"features"`` or ``"weights"``.
        recovery: ``"lsq"`` (least-squares refit of the consumers), ``"bn"`` (batch norm
            re-estimated) or ``"none"``. In the ALF mode the expansion is what is refitted.
        objective: ``"latency"``, ``"energy"``, ``"edp"``, ``"macs"`` or ``"params"``.
        accelerator: A preset of :mod:`hw_sim` or a YAML file.
        accelerator_batch: Images that the accelerator works on at a time.
        reward: ``"step"`` (what the step saves, weighed by the accuracy after it), or with a
            target ``"target"`` (what the network gains on its way there; nothing beyond it).
        tolerance: b of the reward: the drop in accuracy at which nothing is earned.
        duration_weight: w of the reward.
        target: What the final network must meet, for example ``{"macs": 0.26, "latency": 0.6}``:
            for any of the objectives' names the most of that cost, as a share of the unpruned
            network's; ``"accuracy"`` is the largest drop in validation accuracy, which enters
            ``info["target_met"]`` alone (the reward's is ``tolerance``).
        max_epochs: Fine-tuning of duration 1, in epochs of the training split.
        batch_size: Images a mini-batch.
        learning_rate: Of the fine-tuning (SGD).
        eval_images: Size of the fixed validation subset. None: 1,000, or all there are where the
            split is smaller.
        repair_images: Size of the fixed unlabelled training subset of the repair. None: 256, or
            all there are.
        min_keep: Least number of filters (or codes) kept.
        round_to: Kept filters are rounded up to a multiple of this.
        search_budget: Most MACs that may be spent in the environment's lifetime, or None.
        fast: True for all fast paths, False for none, or names of
            :data:`prune_gym.envs.evaluation.FAST`.
        tune: Fine-tuning changes ``"all"`` layers, or those from the cut on (``"suffix"``), which
            takes less time.
        action_mode: ``"filters"`` or ``"alf"``.
        device: Where the network runs.
        threads: Of torch; None: all cores, or 1 in a worker process. It changes float sums.
        render_mode: ``"ansi"`` or ``"rgb_array"``.

    Raises:
        PruneGymError: Data or weights are missing or do not fit.
        TargetError: No network within reach meets the target; the message names the best one.
        ValueError: An argument is out of range or unknown; the message names it.

    ## Vectorized environment
    ``gym.make_vec(id, num_envs=2, vectorization_mode="sync" | "async")``.

    ## Version History
    * v0: first form. Until release 1.0 the ids stay v0 and ``ENV_REVISION`` counts changes.
    """

    metadata = {"render_modes": ["ansi", "rgb_array"], "render_fps": 1}  # noqa: RUF012
    ENV_REVISION = 2

    def __init__(
        self,
        network: str | Network = "resnet20",
        dataset: str | Dataset = "shapes",
        *,
        weights: str | None = None,
        image_size: int = 32,
        order: str = "forward",
        scope: str = "inner",
        observation: str = "features",
        recovery: str = "lsq",
        objective: str = "latency",
        accelerator: str = "eyeriss",
        accelerator_batch: int = 1,
        reward: str = "step",
        tolerance: float = 0.2,
        duration_weight: float = 0.02,
        target: Mapping[str, float] | None = None,
        max_epochs: float = 0.08,
        batch_size: int = 128,
        learning_rate: float = 0.02,
        eval_images: int | None = None,
        repair_images: int | None = None,
        min_keep: int = 1,
        round_to: int = 1,
        search_budget: int | None = None,
        fast: bool | Sequence[str] = True,
        tune: str = "all",
        action_mode: str = "filters",
        device: str = "cpu",
        threads: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        check_mode(action_mode)
        check_arguments(
            max_epochs, batch_size, learning_rate, min_keep, round_to, search_budget, threads
        )
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise ValueError(
                f"render_mode={render_mode!r} is not one of {self.metadata['render_modes']}"
            )
        self.threads = threads or default_threads()
        torch.set_num_threads(self.threads)
        self.baseline = shared_baseline(
            BaselineOptions(
                dataset,
                network,
                weights,
                image_size,
                accelerator,
                accelerator_batch,
                objective,
                recovery,
                eval_images,
                repair_images,
                device,
            )
        )
        self.search_budget = search_budget
        self.render_mode = render_mode
        self.reward_function = make_reward(
            reward,
            self.baseline.accuracy,
            tolerance,
            duration_weight,
            objective,
            self.baseline.costs.of(),
            {name: most for name, most in checked_target(target).items() if name != ACCURACY},
        )
        images = len(self.baseline.train_split.labels)
        self.max_batches = max(1, round(max_epochs * images / batch_size))
        steps = StepSettings(
            self.reward_function,
            TrainingOptions(batch_size=batch_size, learning_rate=learning_rate),
            self.max_batches,
            min_keep,
            round_to,
            checked_fast(fast),
            tune,
        )
        self.action_mode = action_mode
        self.mode = mode = make_mode(
            action_mode, self.baseline, ModeSettings(order, scope, observation, target, steps)
        )
        self.visited, self.observer, self.target = mode.visited, mode.observer, mode.target
        self.transition = mode.transition
        self.action_space: Any = mode.action_space
        self.observation_space: Any = self.observer.observation_space()
        self.search_macs_total = 0
        self._state: State | None = None

    # The Gymnasium interface

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Go back to the unpruned network.

        Args:
            seed: Starts the random generator anew.
            options: None are known.

        Returns:
            The first observation, and ``info``.
        """
        super().reset(seed=seed)
        baseline = self.baseline
        self._state = State(
            module=baseline.module,
            spaces=baseline.network.spaces,
            kept={space.name: np.arange(space.channels) for space in baseline.network.spaces},
            position=0,
            accuracy=baseline.accuracy,
            costs=baseline.costs.of(),
            activation=baseline.activation(self.visited[0]),
        )
        return self._observe(self._state), self._info(self._state)

    def step(self, action: Action) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Cut, repair, fine-tune, evaluate and pay.

        Args:
            action: ``mask`` of shape (n_max,) and ``duration`` of shape (1,) in [0, 1]; in the ALF
                mode ``sparsity`` and ``duration``, both of shape (1,).

        Returns:
            Observation, reward, terminated, truncated, info.

        Raises:
            ResetNeeded: Before the first reset or after the last space.
            ValueError: An action of the wrong shape, not finite or out of range.
        """
        return self._advance(action, None)

    def replay(
        self, action: Action, seed: int
    ) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """:meth:`step` as it was once taken, for records that are to be checked.

        Args:
            action: As it was executed or asked for.
            seed: The ``info["seed"]`` of that step; the environment's own random numbers stay.

        Returns:
            Observation, reward, terminated, truncated, info.

        Raises:
            ResetNeeded: Before the first reset or after the last space.
            ValueError: An action of the wrong shape, not finite or out of range.
        """
        return self._advance(action, seed)

    def _advance(
        self, action: Action, seed: int | None
    ) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        state = self._require_state()
        torch.set_num_threads(self.threads)
        if state.position >= len(self.visited):
            raise ResetNeeded("The episode has ended: call reset() before step().")
        checked = self.mode.checked(action)
        drawn = int(self.np_random.integers(2**62)) if seed is None else seed
        outcome = self.mode.step(state, checked, drawn)
        state = self._state = outcome.state
        self.search_macs_total += outcome.macs
        info = self._info(state) | self.mode.info(outcome) | {"seed": drawn}
        terminated = state.position == len(self.visited)
        spent = self.search_budget is not None and self.search_macs_total >= self.search_budget
        truncated = spent and not terminated
        return self._observe(state), outcome.reward.total, terminated, truncated, info

    def render(self) -> Any:
        """The episode so far: a table (``ansi``) or bars of filters and cost (``rgb_array``)."""
        from prune_gym.envs import render

        if self.render_mode is None:
            gym.logger.warn("render() without a render_mode: pass render_mode='ansi' to make().")
            return None
        state = self._require_state()
        if self.render_mode == "ansi":
            return render.table(state, self.baseline, self.visited)
        return render.picture(state, self.baseline, self.visited)

    # What agents use beyond it

    def adopt(
        self, module: nn.Module, batches: int, updates: int, macs: int
    ) -> list[dict[str, Any]]:
        """Take over a network whose visited convolutions were all compressed at once.

        For agents that train the whole network (:mod:`agents.alf`): the environment deploys it,
        holds its codes to the target, evaluates it, and is after the episode's last step.

        Args:
            module: With :class:`prune_gym.alf.ALFConv2d` blocks; only dropped codes change it.
            batches: Mini-batches that its training took.
            updates: Of each autoencoder.
            macs: Nominal MACs of the training; they count as spent.

        Returns:
            The info of each convolution, in the order of the visits, as steps tell it, with
            ``reward`` and ``duration``.

        Raises:
            ResetNeeded: Not at the beginning of an episode.
            ValueError: Another action mode, or a visited convolution without a block.
        """
        from prune_gym.envs.alf_mode import ALFMode
        from prune_gym.envs.alf_whole import Spent

        state = self._require_state()
        if not isinstance(self.mode, ALFMode):
            raise ValueError("adopt() needs action_mode='alf': make the environment with it")
        if state.position:
            raise ResetNeeded("adopt() takes the place of a whole episode: call reset() first.")
        torch.set_num_threads(self.threads)
        infos: list[dict[str, Any]] = []
        for outcome in self.mode.take_over(state, module, Spent(batches, updates, macs)):
            self._state = outcome.state
            self.search_macs_total += outcome.macs
            duration = min(1.0, outcome.batches / self.max_batches)
            told = {"reward": outcome.reward.total, "duration": duration}
            infos.append(self._info(outcome.state) | self.mode.info(outcome) | told)
        return infos

    def snapshot(self) -> State:
        """The whole state, random generator included. It stays valid whatever follows."""
        random = copy.deepcopy(self.np_random.bit_generator.state)
        return replace(self._require_state(), random=dict(random))

    def restore(self, state: State) -> tuple[Observation, dict[str, Any]]:
        """Go back to a snapshot.

        Args:
            state: From :meth:`snapshot` of an environment with the same arguments.

        Returns:
            Observation and info, as they were but for what depends on ``search_macs_total``.

        Raises:
            ValueError: The snapshot is of another network.
        """
        if not self.mode.fits(state):
            raise ValueError("the snapshot is of an environment with another network")
        self.np_random.bit_generator.state = copy.deepcopy(state.random)
        self._state = replace(state, random={})
        return self._observe(self._state), self._info(self._state)

    def try_actions(self, actions: Sequence[Action]) -> list[tuple[float, dict[str, Any]]]:
        """Reward and info of several actions from the present state, which is left as it was.

        Each is tried from the same state, random state included, so that a later
        :meth:`step` with one of them gives just what the trial gave. What the trials cost
        stays in ``search_macs_total``.

        Args:
            actions: As for :meth:`step`.

        Returns:
            (reward, info) of each action, in their order.
        """
        before = self.snapshot()
        results = []
        try:
            for action in actions:
                _, reward, _, _, info = self.step(action)
                results.append((reward, info))
                self.restore(before)
        finally:
            self.restore(before)
        return results

    @property
    def network(self) -> Network:
        """The present network; steps do not change it, and neither should its reader."""
        return self._require_state().network(self.baseline.network)

    @property
    def kept(self) -> dict[str, npt.NDArray[np.int64]]:
        """For each space the kept channels' numbers in the unpruned network."""
        return dict(self._require_state().kept)

    def score(self) -> float:
        """What the present network is worth (:meth:`RewardFunction.score`)."""
        state = self._require_state()
        return self.reward_function.score(state.accuracy, self._cost_ratio(state))

    @property
    def pays_to_target(self) -> bool:
        """Whether the reward ends at the target."""
        return isinstance(self.reward_function, TargetReward)

    def ratio_for_target(self) -> float | None:
        """The keep ratio of a uniform cut to the target (:meth:`Target.uniform_ratio`).

        Returns:
            Within (0, 1); None where no cost is wanted.
        """
        return self.target.uniform_ratio()

    def ratio_for_rest(self) -> float | None:
        """The same for the layers to come, after what the episode has done so far.

        Returns:
            Within (0, 1); :meth:`ratio_for_target` at an episode's start; None where no cost is
            wanted, or no layer is to come.

        Raises:
            ResetNeeded: There is no episode yet.
        """
        return self.target.ratio_for_rest(self._require_state().decided())

    def export(self, folder: str | Path) -> dict[str, Any]:
        """Write the present network as ONNX, torch.export and safetensors, checked.

        Args:
            folder: Made if need be.

        Returns:
            The report that is written beside them.

        Raises:
            ExportError: ONNX Runtime does not agree with the network.
        """
        from prune_gym.export import export_network

        state = self._require_state()
        info = self._info(state)
        report = {name: value for name, value in info.items() if np.isscalar(value)}
        return export_network(
            Path(folder), self.network, self.kept, report, samples=self.baseline.dataset.validation
        )

    def _observe(self, state: State) -> Observation:
        return self.observer.observe(state, self._budget_left())

    def _budget_left(self) -> float:
        if self.search_budget is None:
            return 1.0
        return max(0.0, 1 - self.search_macs_total / self.search_budget)

    def _cost_ratio(self, state: State) -> float:
        objective = self.baseline.costs.objective
        return self.baseline.costs.of().of(objective) / state.costs.of(objective)

    def _info(self, state: State) -> dict[str, Any]:
        full, costs = self.baseline.costs.of(), state.costs
        ratio = self._cost_ratio(state)
        return {
            "accuracy": state.accuracy,
            "score": self.reward_function.score(state.accuracy, ratio),
            **costs.as_dict(),
            "params_ratio": full.params / costs.params,
            "macs_ratio": full.macs / costs.macs,
            "cost_ratio": ratio,
            "search_macs": state.search_macs,
            "position": state.position,
            "target_met": self.target.met(costs, state.accuracy),
            "action_mask": self.observer.action_mask(state),
        }

    def _require_state(self) -> State:
        if self._state is None:
            raise ResetNeeded("Call reset() first.")
        return self._state
