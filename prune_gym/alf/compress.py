"""ALF as in the paper: the training of the network compresses all convolutions together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from prune_gym.alf.allocate import Hold, hold_codes, output_energies, select_codes
from prune_gym.alf.convert import blocks, code_space_name, convertible, deploy, pays, to_alf
from prune_gym.alf.geometry import block_macs, update_macs
from prune_gym.alf.options import ALFOptions, CompressOptions
from prune_gym.alf.repair import BlockRepair
from prune_gym.alf.training import two_player_train
from prune_gym.batches import Images
from prune_gym.data import Split
from prune_gym.networks import Network
from prune_gym.pruning import Geometry, legal_mask
from prune_gym.pruning.finished import BlockRecord, FinishedNetwork
from prune_gym.training import TrainingOptions

CLIPPED = 0.3
"""Share of the first piece of training at which the first codes are clipped."""
Progress = Callable[[float, str], None]
"""Function of the completed share, 0 to 1, and a text."""


class Compression:
    """Two-player training of a whole network, piece by piece (Frickenstein et al., DAC 2020).

    First, unless the training starts from scratch, :meth:`clip` removes codes without images.
    Each call of :meth:`train` is a piece of training; :meth:`deployed` deploys the blocks.

    Args:
        network: The unpruned network; it does not change.
        layers: Names of the convolutions that become blocks.
        split: Training images.
        repair: Repair of blocks that lost codes.
        options: Hyperparameters.
        codes: Minimum number of codes by layer; None: ``options.pr_max`` of the codes may be
            clipped in each layer.
        pr_max: Share of codes that may be clipped if ``options`` leaves it open.
        batch_size: Number of images in a mini-batch.
        seed: Seed of the images' order and, from scratch, of the weights.

    Attributes:
        module: The network with blocks.
    """

    def __init__(
        self,
        network: Network,
        layers: Sequence[str],
        split: Split,
        repair: BlockRepair,
        options: CompressOptions,
        codes: Mapping[str, int] | None = None,
        pr_max: float = ALFOptions.pr_max,
        batch_size: int = 128,
        seed: int = 0,
    ) -> None:
        self.network, self.layers, self.split = network, tuple(layers), split
        self.repair, self.options = repair, options
        self.batch_size, self.seed = batch_size, seed
        self.batches = max(1, round(options.epochs * len(split) / batch_size))
        geometry = Geometry(network.module, network.spaces, network.input_shape)
        self.macs = geometry.macs()
        self._shapes = {layer.name: layer for layer in geometry.layers}
        rate = ALFOptions.mask_learning_rate
        if not options.clips_first:
            # An entry falls by this rate times the weight of sparsity at every update.
            updates = CLIPPED * self.batches * options.updates
            rate = min(rate, 1 / (options.weight * updates))
        self.constants = options.block(pr_max=pr_max, mask_learning_rate=rate)
        self.module = self._start()
        for name, count in (codes or {}).items():
            block = blocks(self.module)[name]
            # Add a small number, so that rounding does not reduce floor() of the product by 1.
            share = min(1.0, 1 - count / block.out_channels + 1e-9)
            block.options = replace(self.constants, pr_max=share)

    def _start(self) -> nn.Module:
        """Make the network with new blocks; from scratch, all weights are random."""
        if not self.options.from_scratch:
            return to_alf(self.network, self.layers, self.constants)
        generator = torch.Generator().manual_seed(self.seed)
        module = to_alf(self.network, self.layers, self.constants, generator)
        inside = {id(part) for block in blocks(module).values() for part in block.modules()}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            for part in module.modules():
                reset = getattr(part, "reset_parameters", None)
                if reset is not None and id(part) not in inside:
                    reset()
        return module

    def clip(self, progress: Progress | None = None) -> tuple[int, int]:
        """Clip codes before the training, and repair each block.

        Args:
            progress: Function that is called after each block.

        Returns:
            Number of updates per autoencoder, and nominal MACs; both are 0 from scratch.
        """
        if not self.options.clips_first:
            return 0, 0
        updates, found = self.options.first_updates, blocks(self.module)
        macs = updates * self._update_macs()
        self.module.eval()
        for number, (name, block) in enumerate(found.items(), 1):
            for _ in range(updates):
                block.autoencoder_step()
            block.clip()
            macs += self.repair(self.module, name, self.running_macs())
            if progress is not None:
                progress(number / len(found), f"clipped {name}, {block.codes_alive} codes")
        return updates, macs

    def train(self, piece: int = 0, progress: Progress | None = None) -> tuple[int, int]:
        """Train for ``options.epochs``.

        Args:
            piece: Number of the piece. It determines, with the seed, the order of the images, so
                that a resumed training draws the same images.
            progress: Function that is called about fifty times.

        Returns:
            Number of mini-batches, and nominal MACs.
        """
        options, batches = self.options, self.batches
        distilled = not options.from_scratch and options.distillation > 0
        training = TrainingOptions(
            batch_size=self.batch_size,
            learning_rate=options.learning_rate,
            schedule="one_cycle",
            distillation=options.distillation if distilled else 0.0,
        )
        # Counted with the codes alive at the start; clipping reduces the work.
        macs = 3 * self.running_macs() + (self.macs if distilled else 0)
        macs = macs * batches * self.batch_size
        macs += self.constants.updates * batches * self._update_macs()
        found = blocks(self.module)
        every = max(1, batches // 50)

        def note(batch: int, loss: float) -> None:
            if progress is not None and batch % every == 0:
                alive = " ".join(str(block.codes_alive) for block in found.values())
                progress(batch / batches, f"loss {loss:.3f}, codes {alive}")

        drawn = np.random.default_rng([self.seed, piece]).integers(2**62)
        generator = torch.Generator().manual_seed(int(drawn))
        teacher = self.network.module if distilled else None
        normalize = self.network.normalize
        two_player_train(
            self.module,
            self.split,
            batches,
            generator,
            training,
            teacher,
            note,
            normalization=normalize,
        )
        return batches, macs

    def deployed(self, updates: int, hold: Hold | None = None) -> FinishedNetwork:
        """Deploy the blocks as plain layers.

        Args:
            updates: Number of updates per autoencoder so far, for the records.
            hold: Rules for the codes; they may drop or restore codes of :attr:`module`. None: at
                least one code remains.

        Returns:
            The deployed network, with one mask and one record for each code space.
        """
        before: tuple[int, ...] = ()
        masks, records, changed = dict[str, np.ndarray](), dict[str, BlockRecord](), set[str]()
        found = blocks(self.module)
        for layer in self.layers:
            block, space = found[layer], code_space_name(layer)
            if hold_codes(block, before, hold or _at_least_one):
                changed.add(space)
            masks[space] = block.alive().numpy()
            codes = int(masks[space].sum())
            merged = not pays(block, codes)
            before = (*before, block.out_channels if merged else codes)
            error = block.reconstruction_error()
            records[space] = BlockRecord(block.options.pr_max, codes, merged, error, updates)
        network = deploy(self.module, self.network)
        module = network.module.eval()
        return FinishedNetwork(module, network.spaces, masks, records, frozenset(changed))

    def running_macs(self) -> int:
        """MACs of the network for one image; clipped codes do not count."""
        macs = self.macs
        for name, block in blocks(self.module).items():
            shape = self._shapes[name]
            macs += block_macs(shape, block.codes_alive) - shape.macs({})
        return macs

    def _update_macs(self) -> int:
        """MACs of one update of every autoencoder."""
        return sum(update_macs(self._shapes[name]) for name in self.layers)


def compress(
    network: Network,
    split: Split,
    images: Images,
    layers: Sequence[str] | None = None,
    options: CompressOptions | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> FinishedNetwork:
    """Compress a whole network with ALF: clip, train for ``options.epochs``, deploy.

    Args:
        network: The unpruned network; it does not change.
        split: Training images.
        images: Unlabelled repair images, normalised, shape (N, C, H, W).
        layers: Names of the convolutions that are compressed; None: all dense convolutions with a
            kernel above 1 except those that read the images.
        options: Hyperparameters; None: the defaults.
        seed: Seed of the images' order and, from scratch, of the weights.
        progress: Function that is called with the completed share, 0 to 1, and a text.

    Returns:
        The compressed network.
    """
    geometry = Geometry(network.module, network.spaces, network.input_shape)
    if layers is None:
        inner = [layer.name for layer in geometry.layers if layer.inputs.parts]
        layers = [name for name in convertible(network.module) if name in inner]
    repair = BlockRepair(network.module, layers, images, "lsq", geometry.macs())
    compression = Compression(
        network, layers, split, repair, options or CompressOptions(), seed=seed
    )
    updates, _ = compression.clip(progress)
    batches, _ = compression.train(progress=progress)
    return compression.deployed(updates + batches * compression.constants.updates)


def codes_for_target(
    module: nn.Module,
    layers: Sequence[str],
    legal: Sequence[Sequence[int]],
    excess: Callable[[tuple[int, ...]], Mapping[str, float]],
    repair: BlockRepair,
) -> dict[str, int] | None:
    """Select numbers of codes that meet a target and preserve the layers' outputs.

    Args:
        module: The unpruned network.
        layers: Names of the convolutions.
        legal: Counts that the rules allow, by convolution.
        excess: Function from the counts of all layers to costs relative to their limits.
        repair: Repair object with the reference outputs of the layers.

    Returns:
        The count of each layer; None if none were found.
    """
    counts: dict[str, list[int]] = {}
    for name, allowed in zip(layers, legal, strict=True):
        conv = module.get_submodule(name)
        assert isinstance(conv, nn.Conv2d)
        counts[name] = [count for count in allowed if pays(conv, count)] + list(allowed[-1:])
    references = repair.least_squares.references
    return select_codes(
        {name: output_energies(references[name].outputs) for name in layers},
        counts,
        lambda chosen: excess(tuple(chosen[name] for name in layers)),
    )


def _at_least_one(
    alive: np.ndarray, before: tuple[int, ...], sizes: np.ndarray, _: np.ndarray
) -> np.ndarray:
    return legal_mask(alive, sizes)
