"""Evolutionary search over the layers' keep ratios, without gradients."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch

from agents import files
from agents.base import Action, Callback, EpisodicAgent, Info, Observation
from agents.common import checks
from agents.common.keep_ratio import ratio_for
from prune_gym.errors import PruneGymError, WeightsError
from prune_gym.pruning import criteria
from prune_gym.weights import read_weights

Vector = npt.NDArray[np.float64]


class Evolution(EpisodicAgent):
    """CMA-ES (Hansen 2016, "The CMA Evolution Strategy: A Tutorial") with the library ``cmaes``.

    An individual is one keep ratio for each layer; its value is the sum of the rewards of the
    episode that executes it. A criterion ranks the filters. :meth:`act` follows the best
    individual, before the first episode the mean.

    Args:
        env: A pruning environment with its own ``Dict`` action.
        seed: Seed of the search.
        keep: Mean of the first generation, within [``least``, 1]. None: the keep ratio that meets
            the environment's target, or 0.5 without a target.
        spread: Standard deviation of the first generation, above 0.
        least: Smallest keep ratio, within (0, 1).
        population: Number of individuals in a generation, 4 or more. None: the library's
            suggestion, ``4 + floor(3 ln layers)``.
        duration: Duration of each step's fine-tuning, 0 to 1.
        criterion: Criterion that ranks the filters
            (:data:`prune_gym.pruning.criteria.CRITERIA`).

    Raises:
        PruneGymError: ``cmaes`` is not installed.
        ValueError: A number is out of range, the criterion is unknown, or the observation lacks
            the criterion's entry.
    """

    action_form = "keep_ratio"
    extra = "evolution"

    def __init__(
        self,
        env: gym.Env[Any, Any],
        seed: int = 0,
        keep: float | None = None,
        spread: float = 0.2,
        least: float = 0.1,
        population: int | None = None,
        duration: float = 0.1,
        criterion: str = "l1",
    ) -> None:
        super().__init__(env, seed)
        if not 0 < least < 1:
            raise ValueError(f"least={least} is not within (0, 1)")
        if keep is not None and not least <= keep <= 1:
            raise ValueError(f"keep={keep} is not within [least={least}, 1]")
        if population is not None and population < 4:
            raise ValueError(f"population={population} must be at least 4")
        criteria.check(criterion, env)
        self.layers = len(self.pruning.visited)
        self.keep = max(least, ratio_for(env) if keep is None else keep)
        self.spread, self.least, self.population = spread, least, population
        self.duration, self.criterion = duration, criterion
        checks.positive(self, "spread")
        checks.share(self, "duration")
        self.optimizer = self._new_optimizer()
        self._evaluated: list[tuple[Vector, float]] = []
        self._since = 0
        self._present = self.best

    def _new_optimizer(self) -> Any:
        """Return the library's optimizer before its first generation; ``cmaes`` has no types."""
        try:
            from cmaes import CMA
        except ImportError as error:
            raise PruneGymError(
                "the agent 'evolution' needs cmaes: pip install prune-gym[evolution]"
            ) from error
        bounds = np.tile([self.least, 1.0], (self.layers, 1))
        mean = np.full(self.layers, self.keep)
        return CMA(mean, self.spread, bounds, seed=self.seed, population_size=self.population)

    @property
    def best(self) -> Vector:
        """Best individual of this search, shape (layers,); before the first episode the mean."""
        values = [value for _, value in self._evaluated[self._since :]]
        if not values:
            return np.full(self.layers, self.keep)
        return self._evaluated[self._since + int(np.argmax(values))][0]

    # Learning

    def begin_episode(self) -> None:
        """Draw the next individual."""
        if self.episodes == 0:
            # Values from another environment, as before a warm start, do not count here.
            self._since = len(self._evaluated)
        self._present = self.optimizer.ask()

    def decide(self, observation: Observation, callback: Callback) -> tuple[Action, int]:
        """Return the action with the individual's keep ratio of the layer; nothing is tried."""
        return self._action(self._present, observation), 0

    def end_episode(self, observation: Observation, infos: list[Info], callback: Callback) -> None:
        """Add the individual's value; after a generation, update the distribution."""
        value = float(sum(info["reward"] for info in infos))
        self._add(self._present, value)
        best = max(value for _, value in self._evaluated[self._since :])
        recent = [own for own, _ in self._evaluated[-self.optimizer.population_size :]]
        spread = float(np.std(recent, axis=0).mean())  # averaged over the layers
        callback.on_update({"value": value, "best": best, "spread": spread})

    def _add(self, individual: Vector, value: float) -> None:
        self._evaluated.append((individual, value))
        size = self.optimizer.population_size
        if len(self._evaluated) % size == 0:
            # The library minimises.
            self.optimizer.tell([(own, -paid) for own, paid in self._evaluated[-size:]])

    # Acting

    def act(
        self, observation: Observation, info: Info | None = None, deterministic: bool = False
    ) -> Action:
        """Follow the best individual; nothing is drawn."""
        return self._action(self.best, observation)

    def _action(self, ratios: Vector, observation: Observation) -> Action:
        position = round(float(observation["progress"][0]) * self.layers)
        ratio = float(ratios[position])
        return criteria.action(self.criterion, observation, self.env, ratio, self.duration)

    # Files

    def save(self, folder: Path) -> None:
        """Write all individuals with their values, and the hyperparameters."""
        names = ("keep", "spread", "least", "population", "duration", "criterion")
        options = {name: getattr(self, name) for name in names}
        individuals = np.array([own for own, _ in self._evaluated]).reshape(-1, self.layers)
        values = np.array([value for _, value in self._evaluated])
        arrays = {"individuals": individuals, "values": values}
        tensors = {n: torch.from_numpy(array.astype(np.float64)) for n, array in arrays.items()}
        files.save_tensors(folder / files.POLICY, tensors)
        files.write_facts(folder, self, "evolution", options=options, since=self._since)

    def load(self, folder: Path) -> None:
        """Read what :meth:`save` wrote, and repeat the search with the values that it had found."""
        tensors = read_weights(folder / files.POLICY)
        individuals = tensors.get("individuals", torch.zeros(0, 0))
        if set(tensors) != {"individuals", "values"} or individuals.shape[1] != self.layers:
            raise WeightsError(f"The policy in {str(folder)!r} is of a search in another network.")
        facts = files.read_facts(folder, self, "evolution")
        self.optimizer = self._new_optimizer()
        self._evaluated, self._since = [], int(facts.get("since", 0))
        for own, value in zip(individuals, tensors["values"], strict=True):
            asked = self.optimizer.ask()
            if not np.array_equal(asked, own.numpy()):
                raise WeightsError(
                    f"The search in {str(folder)!r} drew different individuals. Use its seed, "
                    "its hyperparameters and its release of cmaes."
                )
            self._add(asked, float(value))
