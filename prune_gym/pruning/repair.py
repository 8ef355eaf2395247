"""Repair a pruned network without labels: re-estimate batch norms, or refit consumers.

Accuracy immediately after a cut is almost uninformative. After a least-squares refit of the layers
that read the cut channels, it ranks networks correctly (reconstruction as in He et al. 2017,
"Channel Pruning for Accelerating Very Deep Neural Networks", equation 2; sampling and ridge are
this project's choice). :mod:`prune_gym.pruning.rows` samples the rows of a layer's system, and
:mod:`prune_gym.pruning.ridge` solves it.
"""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from prune_gym.batches import Images, split_images
from prune_gym.pruning.batch_norm import BatchNorm
from prune_gym.pruning.ridge import LARGEST, Dual, Moments, Plan, Primal
from prune_gym.pruning.rows import (
    BATCH,
    Call,
    Layer,
    Sampler,
    checked_layer,
    input_rows,
    layer_inputs,
    references,
    system_size,
)
from prune_gym.pruning.rules import groups_of

METHODS = ("none", "bn", "lsq")


@torch.no_grad()
def reestimate_batch_norm(network: nn.Module, images: Images) -> None:
    """Set the running statistics of all batch norms to their mean over the images, in place.

    Only the batch norms are in ``train`` mode meanwhile, so that dropout and similar layers neither
    change the statistics nor draw random numbers. A batch norm that ``eval`` mode does not call
    (one of an auxiliary head) keeps its statistics; so do all if the network raises an exception.

    Args:
        network: The network; its modules are in the same modes afterwards.
        images: Normalised images, shape (N, C, H, W), on the network's device.
    """
    modes = [(module, module.training) for module in network.modules()]
    norms = [m for m, _ in modes if isinstance(m, BatchNorm) and m.track_running_stats]
    before = [(norm.momentum, [buffer.clone() for buffer in norm.buffers()]) for norm in norms]
    complete = False
    network.eval()
    try:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # In torch, None means the plain mean over the batches.
            norm.train()
        for part in split_images(images, BATCH):
            network(part)
        complete = True
    finally:
        for norm, (momentum, buffers) in zip(norms, before, strict=True):
            norm.momentum = momentum
            if not (complete and norm.num_batches_tracked):
                for buffer, old in zip(norm.buffers(), buffers, strict=True):
                    buffer.copy_(old)
        for module, mode in modes:
            module.training = mode


class LeastSquares:
    """Refits layers so that their outputs match those of the unpruned network.

    The references are computed once, for all given layers that the network calls. They take 4 bytes
    for each row and output. Beyond them and the inputs of a batch, the refit of a layer takes at
    most six matrices of :data:`prune_gym.pruning.ridge.LARGEST` float64 numbers and, unless the
    dual is solved, two float64 matrices as large as the layer's weights in the unpruned network.

    Args:
        network: The unpruned network, in ``eval`` mode.
        layers: Names of the convolutions and dense layers that may need a refit.
        images: Unlabelled repair images, normalised, shape (N, C, H, W).
        samples: Number of sampled output positions per image and call (pixels of a feature map,
            tokens), the same for all images.
        ridge: Strength of the regularisation towards the current weights, relative to the inputs'
            mean square.

    Raises:
        ValueError: If a layer is of another kind, or is called without a batch dimension.
    """

    def __init__(
        self,
        network: nn.Module,
        layers: Sequence[str],
        images: Images,
        samples: int = 32,
        ridge: float = 1e-3,
    ) -> None:
        self.images, self.ridge = images, ridge
        self.references = references(network, layers, images, Sampler(samples))

    def refit(self, network: nn.Module, layer: str, kept: Tensor | None = None) -> int:
        """Refit the weights and bias of one layer, with one pass over the repair images.

        Args:
            network: The pruned network, in ``eval`` mode; the layer gets new parameters.
            layer: Name of the layer.
            kept: Indices of the layer's kept outputs in the unpruned network; None for all.

        Returns:
            Nominal MACs of the system: rows x inputs x (inputs + outputs), or, if there are fewer
            rows than inputs, rows x inputs x (rows + outputs).
        """
        module = network.get_submodule(layer)
        inputs = layer_inputs(network, module, self.images, self.references[layer].repeats)
        return self.fit(layer, module, inputs, kept)

    @torch.no_grad()
    def fit(
        self, name: str, module: nn.Module, inputs: Iterable[Tensor], kept: Tensor | None = None
    ) -> int:
        """Refit a layer from its inputs.

        Args:
            name: Name of the layer in the unpruned network.
            module: The layer, which gets new parameters.
            inputs: Inputs of each call for the repair images, in the order of the calls.
            kept: See :meth:`refit`; so is the result.

        Raises:
            ValueError: If an input is not finite, or a call makes an output of another size than in
                the unpruned network.
        """
        if self.has_moments(name, module):
            return self.solve(name, module, self.moments(name, module, inputs), kept)
        layer = checked_layer(name, module)
        plan, columns = self._plan(name, layer), self._columns(name, layer, kept)
        solvers: Iterable[Primal | Dual]
        if plan.dual:
            stacked, wanted = self._stack(name, layer, inputs, plan)
            solvers = (
                Dual(rows, wanted[:, column], self.ridge)
                for rows, column in zip(stacked, columns, strict=True)
            )
        else:
            moments = self._sum(name, layer, inputs, columns)
            solvers = (Primal(each, self.ridge) for each in moments)
        return self._replace(name, layer, solvers)

    def has_moments(self, name: str, module: nn.Module) -> bool:
        """Whether a layer offers :meth:`moments`: it has no groups, and needs no dual."""
        plan = self._plan(name, checked_layer(name, module))
        return plan.groups == 1 and not plan.dual

    @torch.no_grad()
    def moments(self, name: str, module: nn.Module, inputs: Iterable[Tensor]) -> Moments:
        """Sum the products of a layer's inputs with each other and with its reference.

        The arguments are those of :meth:`fit`.
        """
        layer = checked_layer(name, module)
        (moments,) = self._sum(name, layer, inputs, self._columns(name, layer, None))
        return moments

    @torch.no_grad()
    def solve(
        self, name: str, module: nn.Module, moments: Moments, kept: Tensor | None = None
    ) -> int:
        """Refit a layer from the moments of its inputs, whose cut channels they lack.

        ``name``, ``module``, ``kept`` and the result are those of :meth:`fit`.
        """
        layer = checked_layer(name, module)
        if kept is not None:
            moments = moments.of_outputs(kept)
        return self._replace(name, layer, (Primal(each, self.ridge) for each in [moments]))

    def _plan(self, name: str, layer: Layer) -> Plan:
        return Plan.of(system_size(layer), groups_of(layer), len(self.references[name].outputs))

    def _columns(self, name: str, layer: Layer, kept: Tensor | None) -> tuple[Tensor, ...]:
        """The outputs of each group, as columns of the reference."""
        if kept is None:
            kept = torch.arange(self.references[name].outputs.shape[1])
        return kept.chunk(groups_of(layer))

    def _rows(
        self, name: str, layer: Layer, inputs: Iterable[Tensor], chosen: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield rows of inputs, and the outputs that are wanted for them, within ``LARGEST``.

        ``chosen`` marks the rows to use, shape (rows,); None for all.
        """
        reference, start = self.references[name], 0
        plan, columns = self._plan(name, layer), reference.outputs.shape[1]
        most = max(1, LARGEST // max(plan.groups * plan.size, columns))
        for part, call in zip(inputs, reference.calls, strict=True):
            own = slice(start, start + len(call.positions))
            positions, wanted, start = call.positions, reference.outputs[own], own.stop
            if chosen is not None:
                positions, wanted = positions[chosen[own]], wanted[chosen[own].to(wanted.device)]
            for some, outputs in zip(positions.split(most), wanted.split(most), strict=True):
                yield input_rows(name, layer, part, Call(call.shape, some)), outputs

    def _sum(
        self, name: str, layer: Layer, inputs: Iterable[Tensor], columns: Sequence[Tensor]
    ) -> list[Moments]:
        """The moments of each group."""
        groups, size, device = len(columns), system_size(layer), layer.weight.device
        grams = torch.zeros(groups, size, size, dtype=torch.float64, device=device)
        crosses = torch.zeros(groups, size, len(columns[0]), dtype=torch.float64, device=device)
        rows = 0
        for features, wanted in self._rows(name, layer, inputs):
            rows += len(features)
            wanted = wanted.double()
            for group, own in enumerate(features.chunk(groups, dim=1)):
                if layer.bias is not None:
                    own = torch.cat([own, torch.ones_like(own[:, :1])], dim=1)
                grams[group] += own.T @ own
                crosses[group] += own.T @ (wanted if groups == 1 else wanted[:, columns[group]])
        bias = layer.bias is not None
        return [Moments(*pair, rows, bias) for pair in zip(grams, crosses, strict=True)]

    def _stack(
        self, name: str, layer: Layer, inputs: Iterable[Tensor], plan: Plan
    ) -> tuple[Tensor, Tensor]:
        """The rows of a dual, shape (groups, rows, inputs), and the wanted outputs."""
        total = len(self.references[name].outputs)
        chosen = torch.zeros(total, dtype=torch.bool)
        # If not all rows are used, they are equally spaced over images and positions.
        chosen[torch.arange(plan.rows) * total // plan.rows] = True
        shape = plan.groups, plan.rows, plan.size
        stacked = torch.ones(shape, dtype=torch.float64, device=layer.weight.device)
        outputs, start = [], 0
        for features, wanted in self._rows(name, layer, inputs, chosen):
            own = slice(start, start + len(features))
            for group, part in enumerate(features.chunk(plan.groups, dim=1)):
                stacked[group, own, : part.shape[1]] = part
            outputs.append(wanted)
            start = own.stop
        return stacked, torch.cat(outputs)

    def _replace(self, name: str, layer: Layer, solvers: Iterable[Primal | Dual]) -> int:
        """Give a layer the solutions of its groups as new parameters, and return the MACs."""
        plan, bias = self._plan(name, layer), layer.bias
        # Networks may share the old parameters, so create new ones.
        weight = torch.empty_like(layer.weight)
        shift = None if bias is None else torch.empty_like(bias)
        start, count = 0, len(weight) // plan.groups
        try:
            for solver in solvers:
                for part in torch.arange(count).split(max(1, LARGEST // plan.size)):
                    outputs = slice(int(part[0]), int(part[-1]) + 1)
                    own = slice(start + outputs.start, start + outputs.stop)
                    old = layer.weight[own].flatten(1)
                    if bias is not None:
                        old = torch.cat([old, bias[own, None]], dim=1)
                    fitted = solver.solve(old.double(), outputs)
                    if shift is not None:
                        shift[own] = fitted[:, -1]
                        fitted = fitted[:, :-1]
                    weight[own] = fitted.reshape(weight[own].shape).to(weight.dtype)
                start += count
        except torch.linalg.LinAlgError:
            raise ValueError(
                f"layer {name!r} cannot be refitted, because values that it reads are not finite; "
                "check the weights and the learning rate"
            ) from None
        layer.weight = nn.Parameter(weight, requires_grad=layer.weight.requires_grad)
        if bias is not None and shift is not None:
            layer.bias = nn.Parameter(shift, requires_grad=bias.requires_grad)
        return plan.macs(len(weight))
