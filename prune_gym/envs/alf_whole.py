"""A network that was compressed as a whole, taken over as the end of an episode."""

from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from prune_gym.alf import ALFConv2d, blocks, deploy, pays
from prune_gym.envs.alf_transition import ALFTransition
from prune_gym.envs.reward import Standing
from prune_gym.envs.state import BlockRecord, State, StepRecord
from prune_gym.envs.stepping import Outcome


@dataclass(frozen=True)
class Spent:
    """What the training of a whole network took.

    Args:
        batches: Mini-batches of two-player training.
        updates: Of each autoencoder.
        macs: Nominal MACs.
    """

    batches: int
    updates: int
    macs: int


def taken_over(
    transition: ALFTransition, start: State, module: nn.Module, spent: Spent
) -> list[Outcome]:
    """Deploy a network with blocks, evaluate it, and tell of it as an episode's steps.

    Codes with which the target would not be met are dropped from the blocks, smallest mask entry
    first. The steps share the accuracy, as the network was evaluated once; the first has all of
    the training, and their rewards add up to that of the whole.

    Args:
        transition: Of the environment.
        start: The unpruned network's state.
        module: With a block for each visited convolution; left as it is but for dropped codes.
        spent: On its training.

    Returns:
        One outcome for each visited convolution, in the order of the visits.

    Raises:
        ValueError: A visited convolution has no block.
    """
    found = blocks(module)
    missing = [space.name for space in transition.visited if space.producers[0] not in found]
    if missing:
        raise ValueError(f"the network has no block for {', '.join(missing)}")
    records, changed = _decided(transition, found, spent)
    deployed = deploy(module, start.network(transition.baseline.network))
    accuracy, _ = transition.baseline.evaluate(deployed.module.eval())
    counts, kept, state = dict[str, int](), dict(start.kept), start
    outcomes: list[Outcome] = []
    for place, (space, (mask, record)) in enumerate(zip(transition.visited, records, strict=True)):
        first = place == 0
        counts[space.name] = int(mask.sum())
        if not record.merged:
            kept[space.name] = np.flatnonzero(mask)
        costs = transition.costs.of(counts)
        batches = spent.batches if first else 0
        macs = costs.macs * len(transition.baseline.eval_labels) if place + 1 == len(records) else 0
        macs += spent.macs if first else 0
        reward = transition.reward(
            Standing(state.accuracy, state.costs),
            Standing(accuracy, costs),
            min(batches, transition.max_batches),
            transition.max_batches,
        )
        step = StepRecord(space.name, mask, batches, accuracy, costs, reward.total, record)
        state = replace(
            state,
            module=deployed.module,
            spaces=deployed.spaces,
            kept=dict(kept),
            position=place + 1,
            accuracy=accuracy,
            costs=costs,
            activation=np.zeros(0, np.float32),
            search_macs=state.search_macs + macs,
            history=(*state.history, step),
        )
        images = len(transition.baseline.eval_labels)
        outcomes.append(Outcome(state, reward, mask, changed[place], batches, macs, images))
    return outcomes


def _decided(
    transition: ALFTransition, found: dict[str, ALFConv2d], spent: Spent
) -> tuple[list[tuple[np.ndarray, BlockRecord]], list[bool]]:
    """Each block's codes, held to the rules and the target."""
    records: list[tuple[np.ndarray, BlockRecord]] = []
    changed: list[bool] = []
    before: tuple[int, ...] = ()
    for space in transition.visited:
        block = found[space.producers[0]]
        changed.append(transition.hold(block, before))
        mask = block.alive().numpy()
        codes, error = int(mask.sum()), block.reconstruction_error()
        merged = not pays(block, codes)
        before = (*before, mask.size if merged else codes)
        record = BlockRecord(block.options.pr_max, codes, merged, error, spent.updates)
        records.append((mask, record))
    return records, changed


def running_macs(transition: ALFTransition, module: nn.Module) -> int:
    """MACs of a network with blocks for one image, clipped codes left out.

    Args:
        transition: Of the environment.
        module: With a block for each visited convolution.
    """
    macs = transition.baseline.costs.of().macs
    layers = {layer.name: layer for layer in transition.baseline.geometry.layers}
    for name, block in blocks(module).items():
        layer = layers[name]
        pixels = layer.out_size[0] * layer.out_size[1]
        each = layer.in_channels * layer.kernel[0] * layer.kernel[1] + layer.out_channels
        macs += block.codes_alive * each * pixels - layer.macs({})
    return macs
