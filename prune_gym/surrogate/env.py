"""The surrogate environment: predicted accuracy, exact costs, thousands of steps a second."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.error import ResetNeeded

from prune_gym.costs import Costs
from prune_gym.data import Dataset
from prune_gym.envs import PruningEnv
from prune_gym.envs.actions import checked_action
from prune_gym.envs.env import Action, Observation
from prune_gym.envs.observation import LAYER_FEATURES, filter_rows
from prune_gym.envs.reward import Reward, Standing, TargetReward
from prune_gym.errors import PruneGymError
from prune_gym.networks import Network
from prune_gym.pruning import legal_mask
from prune_gym.surrogate import predictor as model
from prune_gym.surrogate.features import Features, Kept
from prune_gym.surrogate.records import conditions

REDUCED, LAST_KEEP = LAYER_FEATURES.index("reduced"), LAYER_FEATURES.index("last_keep")
NO_NETWORK = (
    "A surrogate has no network, only a prediction of its accuracy. Go on in the real environment, "
    "for example PruneResNet20-v0: prune-gym train PruneResNet20-v0 --warm-start surrogate."
)


@dataclass(frozen=True)
class SurrogateState:
    """A state of the surrogate: a value that steps replace and never change.

    Args:
        kept: What is kept, as the regressor sees it.
        masks: The executed masks, boolean, one for each visited space.
        counts: Channels of each space.
        accuracy: Predicted, 0 to 1; of the unpruned network, measured.
        costs: On the accelerator; exact.
    """

    kept: Kept
    masks: tuple[npt.NDArray[np.bool_], ...]
    counts: dict[str, int]
    accuracy: float
    costs: Costs

    @property
    def position(self) -> int:
        """How many spaces were visited."""
        return len(self.masks)

    def decided(self) -> tuple[int, ...]:
        """What the steps so far left of each visited space, from the first."""
        return tuple(int(np.count_nonzero(mask)) for mask in self.masks)


class SurrogateEnv(gym.Env[Observation, Action]):
    """:class:`prune_gym.envs.PruningEnv` with a fitted regressor in the network's place.

    ## Description
    A place to begin training, not to end it: nothing is cut, repaired, trained or evaluated. The
    accuracy after a step comes from a regressor that was fitted to recorded steps of the real
    environment; parameters, MACs, latency and energy are exact. An agent that learnt here goes on
    in the real environment, which alone has a network to export.

    ## Action Space
    The real environment's, with the same rules (``min_keep``, ``round_to``, no empty mask, the
    target; where it clips, it goes by the unpruned network's norms).

    ## Observation Space
    The real environment's. The filters' statistics are those of the *unpruned* network: what
    repair, fine-tuning and cut inputs would change of them is left out. ``budget_left`` stays 1.

    ## Rewards
    The real environment's formula on the predicted accuracy.

    ## Starting State
    The unpruned network with its measured accuracy. A step draws nothing at random: the seed
    changes nothing.

    ## Episode End
    ``terminated`` after the last space; never ``truncated``.

    ## Info
    As the real environment's but for ``seed``, and ``surrogate``, which is True. ``search_macs``
    stays 0, and so does ``search_macs_total``: the surrogate spends none, so limit agents by steps
    or episodes.

    ## Arguments
    Args:
        network: As for the real environment.
        dataset: As for the real environment.
        surrogate: A fitted surrogate's safetensors file in place of the one that is looked up by
            what was recorded (weights, data, repair, fine-tuning, evaluation, spaces).
        arguments: All others of the real environment.

    Raises:
        WeightsError: No surrogate was fitted for these arguments; the message says how to.
        PruneGymError: Data or weights are missing, ``render_mode`` is given, or another
            ``action_mode`` than ``"filters"``.
        ValueError: An argument is out of range or unknown.
    """

    metadata = {"render_modes": []}  # noqa: RUF012
    action_mode = "filters"
    ENV_REVISION = PruningEnv.ENV_REVISION

    def __init__(
        self,
        network: str | Network = "resnet20",
        dataset: str | Dataset = "shapes",
        *,
        surrogate: str | None = None,
        **arguments: Any,
    ) -> None:
        if arguments.pop("render_mode", None) is not None:
            raise PruneGymError("the surrogate has no network to draw; render the real environment")
        if arguments.get("action_mode", "filters") != "filters":
            raise PruneGymError(
                f"action_mode={arguments['action_mode']!r}: surrogates are fitted to masks of "
                "filters alone. Take the real environment, without --warm-start."
            )
        # Of the real environment's step only the rules are used, so it need not be a fast one.
        real = PruningEnv(network, dataset, **(arguments | {"fast": False}))
        self.baseline, self.visited, self.observer = real.baseline, real.visited, real.observer
        self.threads, self.max_batches = real.threads, real.max_batches
        self.search_budget = real.search_budget
        self.reward_function = real.reward_function
        self._rules = real.transition.min_keep, real.transition.round_to
        self.target = real.target
        self.action_space, self.observation_space = real.action_space, real.observation_space
        self.features = Features(self.baseline, self.visited)
        here = conditions(real)
        path = surrogate or model.find(here, _named(network, dataset) | arguments)
        self.surrogate = model.load(Path(path), here, self.features.names)
        rows = [filter_rows(self.baseline.module, space) for space in self.visited]
        self._norms = [weights.norm(dim=1).numpy() for weights in rows]
        self._l1 = [weights.abs().sum(dim=1).numpy() for weights in rows]
        self._observations = _observations(real)
        self._full = self.baseline.costs.of()
        self._state: SurrogateState | None = None
        self.search_macs_total = 0
        # The kernel is compiled, or read from its cache, here and not in the first step.
        self.surrogate.accuracy(self.features.vector(self.features.start()))

    # The Gymnasium interface

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Go back to the unpruned network.

        Args:
            seed: Starts the random generator anew, of which nothing here depends.
            options: None are known.

        Returns:
            The first observation, and ``info``.
        """
        super().reset(seed=seed)
        counts = self.baseline.geometry.counts()
        accuracy = self.baseline.accuracy
        self._state = SurrogateState(self.features.start(), (), counts, accuracy, self._full)
        return self._observe(self._state), self._info(self._state)

    def step(self, action: Action) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Cut on paper, predict, pay.

        Args:
            action: ``mask`` of shape (n_max,) and ``duration`` of shape (1,) in [0, 1].

        Returns:
            Observation, reward, terminated, truncated, info.

        Raises:
            ResetNeeded: Before the first reset or after the last space.
            ValueError: An action of the wrong shape, not finite or out of range.
        """
        self._state, reward, info = self._taken(self._require_state(), action)
        terminated = self._state.position == len(self.visited)
        return self._observe(self._state), reward, terminated, False, info

    # What agents use beyond it

    def snapshot(self) -> SurrogateState:
        """The whole state. It stays valid whatever follows."""
        return self._require_state()

    def restore(self, state: SurrogateState) -> tuple[Observation, dict[str, Any]]:
        """Go back to a snapshot.

        Args:
            state: From :meth:`snapshot` of a surrogate with the same arguments.

        Returns:
            Observation and info, as they were.

        Raises:
            ValueError: The snapshot is of another network, or of a real environment.
        """
        if not isinstance(state, SurrogateState) or set(state.counts) != set(
            self.baseline.geometry.counts()
        ):
            raise ValueError("the snapshot is of another environment, not of this surrogate")
        self._state = state
        return self._observe(state), self._info(state)

    def try_actions(self, actions: Sequence[Action]) -> list[tuple[float, dict[str, Any]]]:
        """Reward and info of several actions from the present state, which is left as it was.

        Args:
            actions: As for :meth:`step`.

        Returns:
            (reward, info) of each action, in their order.
        """
        state = self._require_state()
        return [self._taken(state, action)[1:] for action in actions]

    @property
    def kept(self) -> dict[str, npt.NDArray[np.int64]]:
        """For each space the kept channels' numbers in the unpruned network."""
        every = {space.name: np.arange(space.channels) for space in self.baseline.network.spaces}
        pairs = zip(self.visited, self._require_state().masks, strict=False)
        return every | {space.name: np.flatnonzero(mask) for space, mask in pairs}

    def score(self) -> float:
        """What the present network is predicted to be worth (:meth:`RewardFunction.score`)."""
        state = self._require_state()
        return self.reward_function.score(state.accuracy, self._cost_ratio(state))

    def ratio_for_target(self) -> float | None:
        """The keep ratio of a uniform cut to the target (:meth:`Target.uniform_ratio`)."""
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

    @property
    def network(self) -> NoReturn:
        """There is none.

        Raises:
            PruneGymError: Always; it names the remedy.
        """
        raise PruneGymError(NO_NETWORK)

    def export(self, folder: str | Path) -> NoReturn:
        """There is nothing to export.

        Args:
            folder: Not used.

        Raises:
            PruneGymError: Always; it names the remedy.
        """
        raise PruneGymError(NO_NETWORK)

    @property
    def pays_to_target(self) -> bool:
        """Whether the reward ends at the target."""
        return isinstance(self.reward_function, TargetReward)

    # How it works

    def _taken(
        self, state: SurrogateState, action: Action
    ) -> tuple[SurrogateState, float, dict[str, Any]]:
        """The state after an action, the reward and the info; nothing here is changed."""
        if state.position >= len(self.visited):
            raise ResetNeeded("The episode has ended: call reset() before step().")
        bits, duration = checked_action(action, self.observer.width)
        space, norms = self.visited[state.position], self._norms[state.position]
        bits = bits[: space.channels]
        mask = legal_mask(bits, norms, *self._rules)
        if self.target.bounds_costs:
            mask = self.target.clip(bits, mask, state.decided(), self._l1[state.position], norms)
        batches = round(duration * self.max_batches)
        kept = self.features.after(state.kept, mask, batches)
        predicted = self.surrogate.accuracy(self.features.vector(kept))
        counts = state.counts | {space.name: int(np.count_nonzero(mask))}
        following = SurrogateState(
            kept=kept,
            masks=(*state.masks, mask),
            counts=counts,
            accuracy=predicted,
            costs=self.baseline.costs.of(counts),
        )
        reward = self._reward(state, following, batches)
        padded = np.zeros(self.observer.width, np.int8)
        padded[: mask.size] = mask
        info = self._info(following)
        info["mask"] = padded
        info["mask_changed"] = bool((mask != bits).any())
        info["batches"] = batches
        info["evaluated_images"] = 0
        info["rewards"] = reward.as_dict()
        return following, reward.total, info

    def _reward(self, before: SurrogateState, after: SurrogateState, batches: int) -> Reward:
        was, now = (Standing(state.accuracy, state.costs) for state in (before, after))
        return self.reward_function(was, now, batches, self.max_batches)

    def _cost_ratio(self, state: SurrogateState) -> float:
        objective = self.baseline.costs.objective
        return self._full.of(objective) / state.costs.of(objective)

    def _observe(self, state: SurrogateState) -> Observation:
        observation = {name: a.copy() for name, a in self._observations[state.position].items()}
        if 0 < state.position < len(self.visited):
            objective = self.baseline.costs.objective
            reduced = 1 - state.costs.of(objective) / self._full.of(objective)
            observation["layer"][REDUCED] = min(1.0, max(0.0, reduced))
            kept, of = state.counts[self.visited[state.position - 1].name], state.masks[-1].size
            observation["layer"][LAST_KEEP] = kept / of
        return observation

    def _info(self, state: SurrogateState) -> dict[str, Any]:
        full, costs, ratio = self._full, state.costs, self._cost_ratio(state)
        return {
            "surrogate": True,
            "accuracy": state.accuracy,
            "score": self.reward_function.score(state.accuracy, ratio),
            **costs.as_dict(),
            "params_ratio": full.params / costs.params,
            "macs_ratio": full.macs / costs.macs,
            "cost_ratio": ratio,
            "search_macs": 0,
            "position": state.position,
            "target_met": self.target.met(costs, state.accuracy),
            "action_mask": self._observations[state.position]["action_mask"].copy(),
        }

    def _require_state(self) -> SurrogateState:
        if self._state is None:
            raise ResetNeeded("Call reset() first.")
        return self._state


def _observations(real: PruningEnv) -> list[Observation]:
    """What the real environment shows of the unpruned network at each position."""
    real.reset(seed=0)
    start, none = real.snapshot(), np.zeros(0, np.float32)
    names = [space.name for space in real.visited]
    activations = [*(real.baseline.activations[name] for name in names), none]
    return [
        real.observer.observe(replace(start, position=position, activation=activation), 1.0)
        for position, activation in enumerate(activations)
    ]


def _named(network: object, dataset: object) -> dict[str, str]:
    """Network and data as command-line arguments, where they have a name."""
    pairs = {"network": network, "dataset": dataset}
    return {name: value for name, value in pairs.items() if isinstance(value, str)}
