"""The ALF mode: an action compresses one convolution into code filters and an expansion."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from torch import Tensor, nn

from prune_gym.alf import ALFOptions, convertible, pays
from prune_gym.alf.allocate import output_energies, select_codes
from prune_gym.alf.convert import code_space_name
from prune_gym.alf.geometry import CodeGeometry, code_space
from prune_gym.costs import CostModel, Costs
from prune_gym.envs.actions import Action, checked_alf_action
from prune_gym.envs.alf_transition import ALFTransition
from prune_gym.envs.alf_whole import Spent, running_macs, taken_over
from prune_gym.envs.baseline import ORDERS, SCOPES, Baseline
from prune_gym.envs.mode import Mode, ModeSettings, unit_box
from prune_gym.envs.observation import BOUND, Observer
from prune_gym.envs.state import State
from prune_gym.envs.stepping import Outcome
from prune_gym.errors import PruneGymError, UnknownNameError
from prune_gym.pruning import ChannelSpace

CODES_ALIVE, ERROR = "codes_alive", "reconstruction_error"


class ALFObserver(Observer):
    """Adds what became of the convolutions that were decided.

    ``codes_alive`` holds for each visited convolution, in the order of the visits, the share of
    codes that are left (1 before its step), ``reconstruction_error`` the autoencoder's squared
    error of its filters, relative to their own square (0 before its step).
    """

    def observation_space(self) -> spaces.Dict:
        """The space of :meth:`observe`."""
        entries = dict(super().observation_space().spaces)
        shape = (len(self.visited),)
        entries[CODES_ALIVE] = spaces.Box(0.0, 1.0, shape, np.float32)
        entries[ERROR] = spaces.Box(0.0, BOUND, shape, np.float32)
        return spaces.Dict(entries)

    def observe(self, state: State, budget_left: float) -> dict[str, npt.NDArray]:
        """See :meth:`Observer.observe`."""
        result = super().observe(state, budget_left)
        alive, errors = np.ones(len(self.visited), np.float32), np.zeros(len(self.visited))
        for place, record in enumerate(state.history):
            assert record.block is not None
            alive[place] = record.mask.mean()
            errors[place] = record.block.reconstruction_error
        result[CODES_ALIVE] = alive
        result[ERROR] = errors.clip(0, BOUND).astype(np.float32)
        return result

    def _space(self, state: State) -> ChannelSpace:
        # Before its own step a convolution is as wide as in the unpruned network.
        return self.visited[state.position]

    def _macs_by_space(self) -> dict[str, int]:
        counts = self.baseline.geometry.counts()
        return {space.name: self._layers[space.producers[0]].macs(counts) for space in self.visited}


class ALFMode(Mode):
    """An action takes one convolution apart (:mod:`prune_gym.alf`); its outputs stay as many.

    ``order`` is the convolutions' own, from input to output or back. ``scope="inner"`` leaves out
    those that read the images, ``"all"`` visits them too. Convolutions that were taken apart
    before, in the network that the environment was given, are not visited again.

    Args:
        baseline: Baseline, data and costs.
        settings: The environment's arguments.

    Raises:
        PruneGymError: The network has no convolution to visit.
        TargetError: No network within reach meets the target.
        ValueError: An argument is out of range or unknown.
    """

    def __init__(self, baseline: Baseline, settings: ModeSettings) -> None:
        self._names = set(baseline.geometry.counts())
        self.visited = visited_codes(baseline, settings.order, settings.scope)
        geometry = CodeGeometry(baseline.geometry, self.visited)
        costs = CostModel(
            geometry, baseline.costs.accelerator, baseline.costs.objective, baseline.costs.batch
        )
        self._prepare(baseline, settings, costs, ALFObserver)
        self._take = ALFTransition(
            baseline, self.visited, settings.step, self.target, costs, ALFOptions()
        )
        self.transition = self._take
        self.action_space = spaces.Dict({"duration": unit_box(), "sparsity": unit_box()})

    def checked(self, action: Action) -> tuple[Any, float]:
        """See :meth:`Mode.checked`; sparsity and duration."""
        return checked_alf_action(action)

    def step(self, state: State, checked: tuple[Any, float], seed: int) -> Outcome:
        """See :meth:`Mode.step`."""
        return self._take(state, *checked, seed)

    def take_over(self, start: State, module: nn.Module, spent: Spent) -> list[Outcome]:
        """See :func:`prune_gym.envs.alf_whole.taken_over`."""
        return taken_over(self._take, start, module, spent)

    def codes_for_target(self) -> dict[str, int] | None:
        """Codes of each visited convolution, by its name, with which the target is met.

        They are given to the convolutions whose outputs need them
        (:func:`prune_gym.alf.allocate.select_codes`), by the repair images. None where no cost is
        wanted, or none was found; :meth:`Target.uniform_ratio` serves then.
        """
        if not self.target.bounds_costs:
            return None
        names = [space.producers[0] for space in self.visited]
        refit = self._take.refit()
        counts: dict[str, list[int]] = {}
        for name, legal in zip(names, self.target.legal(), strict=True):
            layer = self._take.baseline.module.get_submodule(name)
            assert isinstance(layer, nn.Conv2d)
            counts[name] = [count for count in legal if pays(layer, count)] + legal[-1:]
        return select_codes(
            {name: output_energies(refit.references[name].outputs) for name in names},
            counts,
            lambda chosen: self.target.excess(tuple(chosen[name] for name in names)),
        )

    def costs_of(self, codes: Mapping[str, int]) -> Costs:
        """Costs of a network by the counts of codes, those of spaces not named being whole.

        Args:
            codes: By code space.
        """
        return self._take.costs.of(codes)

    def repair(self, module: nn.Module, layer: str) -> int:
        """Repair a block of a network that is compressed as a whole, as a step would.

        Args:
            module: With blocks, in ``eval`` mode; changed in place.
            layer: The block's name.

        Returns:
            Nominal MACs of it.
        """
        return self._take.repair(module, layer, self.running_macs(module), None)

    def running_macs(self, module: nn.Module) -> int:
        """MACs of a network with blocks for one image, clipped codes left out."""
        return running_macs(self._take, module)

    def update_macs(self) -> int:
        """MACs of one update of every visited convolution's autoencoder."""
        return sum(self._take.update_macs(space) for space in self.visited)

    def fits(self, state: State) -> bool:
        """See :meth:`Mode.fits`."""
        codes = {space.name for space in self.visited}
        return {space.name for space in state.spaces} - codes == self._names

    def info(self, outcome: Outcome) -> dict[str, Any]:
        """See :meth:`Mode.info`; and what became of the convolution."""
        block = outcome.state.history[-1].block
        assert block is not None
        return super().info(outcome) | {
            "sparsity": block.sparsity,
            "codes": block.codes,
            "merged": block.merged,
            ERROR: block.reconstruction_error,
            "autoencoder_updates": block.updates,
        }


def visited_codes(baseline: Baseline, order: str, scope: str) -> tuple[ChannelSpace, ...]:
    """The code spaces to be of the convolutions that an episode visits.

    Raises:
        PruneGymError: There are none.
        UnknownNameError: No such order or scope.
    """
    for what, name, known in (("order", order, ORDERS), ("scope", scope, SCOPES)):
        if name not in known:
            raise UnknownNameError(what, name, known)
    norms, dense = _norms(baseline), set(convertible(baseline.module))
    found = [
        code_space(layer, baseline.geometry, norms.get(layer.name))
        for layer in baseline.geometry.layers
        if layer.name in dense
        and layer.out_space is not None
        # What already makes codes is not taken apart once more.
        and layer.out_space != code_space_name(layer.name.rpartition(".")[0])
        and (scope == "all" or layer.in_space is not None)
    ]
    if not found:
        raise PruneGymError(
            "action_mode='alf' finds no dense convolution with a kernel above 1 to visit"
            + ("; try scope='all'." if scope == "inner" else "; use action_mode='filters'.")
        )
    return tuple(found if order == "forward" else reversed(found))


def _norms(baseline: Baseline) -> dict[str, str]:
    """For each convolution the batch norm that reads its output, where there is one."""
    written: dict[int, str] = {}
    kept: list[Tensor] = []
    found: dict[str, str] = {}

    def note(name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Conv2d):
            kept.append(output)  # so that no other tensor gets its id
            written[id(output)] = name
        elif id(inputs[0]) in written:
            found[written[id(inputs[0])]] = name

    handles = [
        module.register_forward_hook(
            lambda module, inputs, output, name=name: note(name, module, inputs, output)
        )
        for name, module in baseline.module.named_modules()
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d)
    ]
    try:
        with torch.no_grad():
            baseline.module(baseline.eval_images[:1])
    finally:
        for handle in handles:
            handle.remove()
    return found
