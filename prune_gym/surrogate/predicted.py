"""The parts of an environment that predicts its accuracy: mode, observer and evaluator.

No network is cut, repaired, trained or evaluated, so a step takes a fraction of a millisecond.
Parameters, MACs, latency and energy are exact.
"""

from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from prune_gym.envs.baseline import Baseline
from prune_gym.envs.config import SCOPES, EnvConfig
from prune_gym.envs.evaluation import Evaluation
from prune_gym.envs.filter_mode import FilterChoice, FilterRules, Norms, visited_spaces
from prune_gym.envs.observation import LAYER_FEATURES, Observer, filter_rows
from prune_gym.envs.state import Build, State
from prune_gym.errors import PruneGymError
from prune_gym.pruning import ChannelSpace
from prune_gym.pruning.finished import FinishedNetwork
from prune_gym.surrogate import predictor
from prune_gym.surrogate.features import Features, KeptShares
from prune_gym.surrogate.records import conditions

REDUCED, LAST_KEEP = LAYER_FEATURES.index("reduced"), LAYER_FEATURES.index("last_keep")
REMEMBERED = 64
"""Number of states whose features are kept: the candidates of two successive states."""
_NONE = np.zeros(0, np.float32)


class PredictedObserver(Observer):
    """Shows the filters of the unpruned network, computed once for each position."""

    def __init__(self, baseline: Baseline, visited: tuple[ChannelSpace, ...], kind: str) -> None:
        super().__init__(baseline, visited, kind)
        self._at: dict[int, dict[str, npt.NDArray[Any]]] = {}

    def observe(self, state: State, budget_left: float) -> dict[str, npt.NDArray]:
        """See :meth:`Observer.observe`."""
        shown = {name: array.copy() for name, array in self._unpruned(state).items()}
        if 0 < state.position < len(self.visited):
            objective = self.baseline.costs.objective
            full = self.baseline.costs.of().of(objective)
            shown["layer"][REDUCED] = min(1.0, max(0.0, 1 - state.costs.of(objective) / full))
            shown["layer"][LAST_KEEP] = state.history[-1].mask.mean()
        return shown

    def action_mask(self, state: State) -> npt.NDArray[np.int8]:
        """See :meth:`Observer.action_mask`."""
        known = self._at.get(state.position)
        return super().action_mask(state) if known is None else known["action_mask"].copy()

    def _unpruned(self, state: State) -> dict[str, npt.NDArray[Any]]:
        """The observation of the unpruned network at a state's position."""
        position = state.position
        if position not in self._at:
            last = position == len(self.visited)
            activation = _NONE if last else self.baseline.activation(self.visited[position])
            network = self.baseline.network
            start = replace(
                state,
                module=network.module,
                spaces=network.spaces,
                costs=self.baseline.costs.of(),
                activation=activation,
                history=(),
            )
            self._at[position] = super().observe(start, 1.0)
        return self._at[position]


class PredictedMode(FilterRules):
    """The filter mode without networks: a step only counts the remaining filters."""

    def __init__(self, config: EnvConfig, baseline: Baseline) -> None:
        super().__init__(config, baseline, PredictedObserver)
        rows = [filter_rows(baseline.module, space) for space in self.visited]
        self._norms = [
            (weights.abs().sum(dim=1).numpy(), weights.norm(dim=1).numpy()) for weights in rows
        ]
        self._full = baseline.geometry.counts()

    def norms(self, state: State) -> tuple[Norms, Norms]:
        """L1 and L2 norms of the next space's filters in the unpruned network."""
        return self._norms[state.position]

    def build(self, state: State, choice: FilterChoice, seed: int) -> Build:
        """See :meth:`Mode.build`; the network stays the unpruned one."""
        space = self.visited[state.position]
        visited = zip(self.visited, state.history, strict=False)
        counts = self._full | {space.name: record.count for space, record in visited}
        counts[space.name] = int(np.count_nonzero(choice.mask))
        return Build(
            space=space,
            module=state.module,
            spaces=state.spaces,
            kept={**state.kept, space.name: np.flatnonzero(choice.mask)},
            counts=counts,
            mask=choice.mask,
            macs=0,
            batches=choice.batches,
            keeps_prefix=False,
        )

    def accept(self, state: State, network: FinishedNetwork) -> list[Build]:
        """Raise PruneGymError, since a surrogate evaluates no networks."""
        raise PruneGymError("A surrogate evaluates no networks. Use the real environment.")

    def fits(self, state: State) -> bool:
        """See :meth:`Mode.fits`; pruned states of real environments do not fit."""
        return state.counts() == self._full


class PredictedEvaluator:
    """Predicts the accuracy with a regressor that was fitted to steps of the real environment.

    Args:
        config: Configuration of the environment; ``surrogate`` may be the path of the file.
        baseline: The unpruned network.
        visited: Spaces that an episode visits.

    Attributes:
        images: Number of evaluated images, 0.
        surrogate: Fitted surrogate.

    Raises:
        WeightsError: If no surrogate was fitted for these arguments; the message says how to fit
            one.
    """

    images = 0

    def __init__(
        self, config: EnvConfig, baseline: Baseline, visited: tuple[ChannelSpace, ...]
    ) -> None:
        self.features = Features(baseline, visited)
        here = conditions(config, baseline, visited)
        given = {name: value for name, value in config.changed().items() if name != "surrogate"}
        named = isinstance(config.surrogate, str)
        others = {} if named else _other_scopes(config, baseline)
        path = Path(str(config.surrogate)) if named else predictor.find(here, given, others)
        self.surrogate = predictor.load(path, here, self.features.names)
        self._kept: OrderedDict[object, KeptShares] = OrderedDict()
        # The first prediction compiles the kernel or reads it from its cache.
        self.surrogate.accuracy(self.features.vector(self.features.start()))

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_kept": OrderedDict()}

    def evaluate(self, state: State, build: Build, upcoming: ChannelSpace | None) -> Evaluation:
        """See :meth:`prune_gym.envs.evaluation.Evaluator.evaluate`."""
        shares = self.features.after(self._shares(state), build.mask, build.batches)
        self._remember(build.token, shares)
        accuracy = self.surrogate.accuracy(self.features.vector(shares))
        return Evaluation(accuracy, _NONE, self.images)

    def _shares(self, state: State) -> KeptShares:
        """The shares of a state, from the cache or from its history."""
        if state.token not in self._kept:
            shares = self.features.start()
            for record in state.history:
                shares = self.features.after(shares, record.mask, record.batches)
            self._remember(state.token, shares)
        return self._kept[state.token]

    def _remember(self, token: object, shares: KeptShares) -> None:
        self._kept[token] = shares
        if len(self._kept) > REMEMBERED:
            self._kept.popitem(last=False)


def _other_scopes(config: EnvConfig, baseline: Baseline) -> dict[str, dict[str, Any]]:
    """The conditions of the environment with each other scope, by the argument that sets it."""
    return {
        f"scope={scope!r}": conditions(config, baseline, visited)
        for scope in SCOPES
        if scope != config.scope
        and (visited := visited_spaces(replace(config, scope=scope), baseline.network.spaces))
    }
