"""Parameters, MACs and accelerator layers of a network in closed form, for any channel counts."""

from collections.abc import Sequence

from torch import nn

from hw_sim import ConvLayer
from prune_gym.pruning.calls import trace_calls
from prune_gym.pruning.check import check_spaces
from prune_gym.pruning.layer_geometry import Counts, LayerGeometry
from prune_gym.pruning.rules import RULES
from prune_gym.pruning.spaces import ChannelSpace, iterate_roles


class Geometry:
    """Sizes of all calls of a network, traced once; all costs are computed from them.

    Args:
        network: The network; it runs once on a zero image, in ``eval`` mode.
        spaces: Channel spaces of the network.
        input_shape: Channels, height and width of an image.

    Raises:
        ValueError: If the spaces do not fit the network, a layer of a space is not called, or an
            operation has weights and cannot be counted.
    """

    def __init__(
        self,
        network: nn.Module,
        spaces: Sequence[ChannelSpace],
        input_shape: tuple[int, int, int],
    ) -> None:
        check_spaces(network, spaces)
        self.spaces = tuple(spaces)
        self.layers = trace_calls(network, spaces, input_shape)
        self._fixed, self._per_channel = _other_parameters(network, spaces, self.layers)

    def numbered(self, counts: Counts) -> Sequence[tuple[int, LayerGeometry]]:
        """Calls of the network with the given counts of all spaces, in execution order.

        Each call has a number that identifies it for all counts.
        """
        return tuple(enumerate(self.layers))

    def counts(self, counts: Counts | None = None) -> dict[str, int]:
        """Channel counts of all spaces: the given counts, and all channels for other spaces."""
        return {space.name: space.channels for space in self.spaces} | dict(counts or {})

    def params(self, counts: Counts | None = None) -> int:
        """Number of parameters, each counted once, including those of norms."""
        full = self.counts(counts)
        return self.other_params(full) + sum(
            layer.weights(full) for _, layer in self.numbered(full)
        )

    def other_params(self, counts: Counts) -> int:
        """Parameters outside the counted layers, for the given counts of all spaces."""
        return self._fixed + sum(each * counts[name] for name, each in self._per_channel.items())

    def macs(self, counts: Counts | None = None) -> int:
        """Multiply-accumulates of all layers and products per image."""
        full = self.counts(counts)
        return sum(layer.macs(full) for _, layer in self.numbered(full))

    def accelerator_layers(self, counts: Counts | None = None, batch: int = 1) -> list[ConvLayer]:
        """All calls in execution order, for :func:`hw_sim.evaluate_network`."""
        full = self.counts(counts)
        return [layer.accelerator_layer(full, batch) for _, layer in self.numbered(full)]


def _other_parameters(
    network: nn.Module, spaces: Sequence[ChannelSpace], layers: Sequence[LayerGeometry]
) -> tuple[int, dict[str, int]]:
    """Parameters outside the counted layers: a constant, and a number per channel."""
    counted = {layer.layer for layer in layers if layer.kind != "matmul"}
    per_channel: dict[str, int] = {}
    varying = 0
    modules = dict(network.named_modules())
    for name, role, space in iterate_roles(spaces):
        module = modules[name]
        size = sum(parameter.numel() for parameter in module.parameters(recurse=False))
        if not size or name in counted:
            continue
        if role != "followers":
            raise ValueError(f"space {space.name!r}: the layer {name!r} is not called")
        slots = RULES[type(module)].slots(module, "out")
        # The parameters of a norm or PReLU have one entry per slot each.
        each = size // slots * space.slots(name, "out", slots).shape[1]
        per_channel[space.name] = per_channel.get(space.name, 0) + each
        varying += each * space.channels
    total = sum(parameter.numel() for parameter in network.parameters())
    of_layers = sum(layer.weights({}) for layer in layers)
    return total - of_layers - varying, per_channel
