"""A toy pruning environment with a known best action, on which agents learn within seconds."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from gymnasium.error import ResetNeeded

WIDTH = 8
BEST_DURATION = 0.3
Observation = dict[str, npt.NDArray]


class ToyState(NamedTuple):
    """A state of the toy: its attributes, and the state of its random generator."""

    position: int
    valid: npt.NDArray[np.int8]
    scale: npt.NDArray[np.float32]
    l2: npt.NDArray[np.float32]
    random: dict[str, Any]


class ToyLayer(NamedTuple):
    """A layer of the toy: its name and the number of its filters."""

    name: str
    channels: int


class ToyPruning(gym.Env[Observation, Mapping[str, npt.NDArray]]):
    """:class:`prune_gym.envs.PruningEnv` without a network: random layers, known best actions.

    ## Description
    An episode has a few layers of 8, 7, 6, ... filters, padded to 8. The filters with a positive
    ``bn_scale`` should stay, and the best duration is ``BEST_DURATION`` (:meth:`best_action`).
    ``l2`` is noise. ``l1`` ranks the filters correctly, but the number that should stay varies.

    ## Action Space
    The real environment's: ``Dict(mask=MultiBinary(8), duration=Box(0, 1, (1,)))``.

    ## Observation Space
    A ``Dict`` with the real environment's names: ``action_mask``, ``layer`` (2,), ``progress``,
    ``l1``, ``l2`` and ``bn_scale``.

    ## Rewards
    ``prune``, the share of correct bits among the layer's filters, plus ``duration``, minus the
    distance to the best duration. A perfect episode earns 1 a layer.

    ## Starting State
    The first layer is drawn from the seed, and so are the following ones.

    ## Episode End
    ``terminated`` after the last layer.

    ## Arguments
    Args:
        layers: Number of layers, 1 to 8; an episode has one step a layer.

    Attributes:
        position: Number of visited layers.
        valid: Mask of the present layer's filters, shape (8,).
        scale: Numbers whose signs say which filters should stay, shape (8,).
    """

    metadata = {"render_modes": []}  # noqa: RUF012
    action_mode = "filters"
    pays_to_target = False
    predicted = True

    def __init__(self, layers: int = 3) -> None:
        if not 1 <= layers <= WIDTH:
            raise ValueError(f"layers={layers} must be 1 to {WIDTH}")
        self.layers = layers
        self.visited = tuple(ToyLayer(f"layer{n}", WIDTH - n) for n in range(layers))
        per_filter = spaces.Box(-10, 10, (WIDTH,), np.float32)
        entries: dict[str, spaces.Space[Any]] = {
            "action_mask": spaces.MultiBinary(WIDTH),
            "layer": spaces.Box(0, 1, (2,), np.float32),
            "progress": spaces.Box(0, 1, (1,), np.float32),
            **dict.fromkeys(("l1", "l2", "bn_scale"), per_filter),
        }
        self.observation_space: Any = spaces.Dict(entries)
        action: dict[str, spaces.Space[Any]] = {
            "duration": spaces.Box(0, 1, (1,), np.float32),
            "mask": spaces.MultiBinary(WIDTH),
        }
        self.action_space: Any = spaces.Dict(action)
        self.search_macs_total = 0
        self.position = layers

    # The Gymnasium interface

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start a new episode; ``options`` are not used."""
        super().reset(seed=seed)
        self.position = 0
        return self._next(), {"action_mask": self.valid.copy(), "position": 0}

    def step(
        self, action: Mapping[str, npt.NDArray]
    ) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Compute the reward and draw the next layer; a step spends one MAC.

        Raises:
            ResetNeeded: The episode has not begun, or has ended.
        """
        if self.position >= self.layers:
            raise ResetNeeded("The episode has ended: call reset() before step().")
        reward, info = self._pay(action)
        self.search_macs_total += 1
        self.position += 1
        observation = self._next()
        info["action_mask"] = self.valid.copy()
        return observation, reward, self.position == self.layers, False, info

    # The other methods of prune_gym.interface.PruningEnvironment

    def try_actions(
        self, actions: Sequence[Mapping[str, npt.NDArray]]
    ) -> list[tuple[float, dict[str, Any]]]:
        """Return each action's reward and info, and keep the state; an action spends one MAC."""
        self.search_macs_total += len(actions)
        return [self._pay(action) for action in actions]

    def snapshot(self) -> ToyState:
        """Return the state, the random generator's included."""
        random = copy.deepcopy(self.np_random.bit_generator.state)
        return ToyState(self.position, self.valid, self.scale, self.l2, dict(random))

    def restore(self, state: ToyState) -> tuple[Observation, dict[str, Any]]:
        """Return to a snapshot, and return its observation and info."""
        self.np_random.bit_generator.state = copy.deepcopy(state.random)
        self.position, self.valid = state.position, state.valid
        self.scale, self.l2 = state.scale, state.l2
        return self._observe(), {"action_mask": self.valid.copy(), "position": self.position}

    def score(self) -> float:
        """Return 0: the toy has no network to score."""
        return 0.0

    def ratio_for_target(self) -> None:
        """Return None: the toy has no targets."""

    def ratio_for_rest(self) -> None:
        """Return None: the toy has no targets."""

    def best_mask(self) -> npt.NDArray[np.int8]:
        """Return the best mask of the present layer, shape (WIDTH,)."""
        return (self.scale > 0).astype(np.int8)

    def best_action(self) -> dict[str, npt.NDArray]:
        """Return the best action in the present layer; it earns 1."""
        return {"mask": self.best_mask(), "duration": np.array([BEST_DURATION], np.float32)}

    # How it works

    def _next(self) -> Observation:
        """Draw the present layer; later layers have more padding."""
        self.valid = (np.arange(WIDTH) < WIDTH - self.position).astype(np.int8)
        self.scale = self.np_random.normal(size=WIDTH).astype(np.float32) * self.valid
        self.l2 = self.np_random.random(WIDTH).astype(np.float32) * self.valid
        return self._observe()

    def _observe(self) -> Observation:
        done = self.position / self.layers
        return {
            "action_mask": self.valid.copy(),
            "layer": np.array([min(1.0, done), 1], np.float32),
            "progress": np.array([min(1.0, done)], np.float32),
            "l1": np.exp(self.scale / 2) * self.valid,
            "l2": self.l2.copy(),
            "bn_scale": self.scale.copy(),
        }

    def _pay(self, action: Mapping[str, npt.NDArray]) -> tuple[float, dict[str, Any]]:
        mask = np.asarray(action["mask"]).astype(np.int8)
        right = float((mask == self.best_mask())[self.valid.astype(bool)].mean())
        duration = -abs(float(np.asarray(action["duration"]).item()) - BEST_DURATION)
        info = {
            "rewards": {"prune": right, "duration": duration},
            "position": self.position + 1,
            "accuracy": right,
            "score": right + duration,
            "cost_ratio": 1.0,
            "mask": mask * self.valid,
        }
        return right + duration, info
