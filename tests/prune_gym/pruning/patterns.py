"""Small networks, each with one pattern of channels between layers."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

SHAPE = (3, 16, 16)


class Net(nn.Module):
    """A network of the given layers and forward function.

    Args:
        forward: Function of (network, images).
        layers: Layers by name.
    """

    def __init__(self, forward: Callable[["Net", Tensor], Tensor], **layers: nn.Module) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self._forward = forward

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, 3, 16, 16) to logits (N, classes)."""
        return self._forward(self, x)


def conv(inputs: int, outputs: int, kernel: int = 3, **given) -> nn.Conv2d:
    """A convolution that keeps the size of the map."""
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, **given)


def around(middle: nn.Module, channels: int = 16, after: int = 16) -> nn.Module:
    """Two convolutions with a module between them that maps ``channels`` to ``after`` channels."""
    return Net(
        lambda self, x: self.fc(self.b(self.mid(self.a(x).relu())).mean((2, 3))),
        a=conv(3, channels),
        mid=middle,
        b=conv(after, 8),
        fc=nn.Linear(8, 4),
    )


class Gate(nn.Module):
    """Squeeze and excitation."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(16, 4), nn.Linear(4, 16)

    def forward(self, x: Tensor) -> Tensor:
        """Scale each channel by a function of all channels."""
        n, c, _, _ = x.shape
        y = self.down(functional.adaptive_avg_pool2d(x, 1).view(n, c)).relu()
        return x * self.up(y).sigmoid().view(n, c, 1, 1)


class ChannelAttention1d(nn.Module):
    """ECA-Net: a convolution along the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Scale each channel by a function of its neighbours."""
        gate = self.c(x.mean((2, 3))[:, None]).transpose(1, 2)[..., None]
        return x * torch.sigmoid(20 * gate)


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """Apply the function."""
        return self.function(x)


def shuffle(x: Tensor) -> Tensor:
    """The channel shuffle of ShuffleNet with four groups, as networks write it."""
    n, c, h, w = x.shape
    return x.view(n, 4, c // 4, h, w).transpose(1, 2).contiguous().view(n, -1, h, w)


def halves(x: Tensor) -> Tensor:
    """Half of the channels, scaled, behind the other half."""
    first, second = x.chunk(2, 1)
    return torch.cat([second, 3 * first], 1)


class Scale(nn.Module):
    """A parameter that scales each channel."""

    def __init__(self) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, 16, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Scale each channel."""
        return x * self.g


def between() -> dict[str, tuple[nn.Module, list[int]]]:
    """Modules between two convolutions, with the channels of the first one's spaces."""
    return {
        "nothing": (nn.Identity(), [16]),
        "batch norm": (nn.BatchNorm2d(16), [16]),
        "batch norm without weights": (nn.BatchNorm2d(16, affine=False), [16]),
        "instance norm": (nn.InstanceNorm2d(16), [16]),
        "instance norm with weights": (nn.InstanceNorm2d(16, affine=True), [16]),
        "group norm": (nn.GroupNorm(4, 16), [4]),
        "layer norm": (nn.GroupNorm(1, 16), []),
        "one slope": (nn.PReLU(), [16]),
        "slopes": (nn.PReLU(16), [16]),
        "depthwise": (conv(16, 16, groups=16), [16]),
        "grouped, whole groups": (conv(16, 16, groups=8), [8]),
        "grouped, equal positions": (conv(16, 16, groups=2), [8]),
        "dilated": (nn.Sequential(nn.Conv2d(16, 16, 3, dilation=2, padding=2)), [16]),
        "gate": (Gate(), [16]),
        "pad and pool": (nn.Sequential(nn.ReflectionPad2d(1), nn.MaxPool2d(2)), [16]),
        "resize": (nn.Upsample(scale_factor=2), [16]),
        "sum over channels": (Function(lambda x: x + x.sum(1, keepdim=True)), []),
        "softmax": (nn.Softmax2d(), []),
        "local response norm": (nn.LocalResponseNorm(5, alpha=1.0), []),
        "along the channels": (ChannelAttention1d(), []),
        "gate of all channels": (
            Function(lambda x: x * torch.sigmoid(20 * x.mean(1, keepdim=True))),
            [],
        ),
        "parameter": (Scale(), []),
        "first channels": (Function(lambda x: torch.cat([3 * x[:, :4], x[:, 4:]], 1)), [4, 12]),
        "last channels": (Function(lambda x: torch.cat([x[:, 10:], x[:, :10]], 1)), [10, 6]),
        "halves": (Function(halves), [8, 8]),
        "shuffle": (Function(shuffle), [16]),
        "shuffle layer": (nn.ChannelShuffle(4), [16]),
        "reversed": (Function(lambda x: x.flip(1)), [16]),
        "rolled": (Function(lambda x: x.roll(3, 1)), [16]),
        "a channel by number": (Function(lambda x: x * x.select(1, 3)[:, None]), [15]),
        "matrix product": (Function(lambda x: x @ x.transpose(2, 3)), []),
    }


def patterns() -> dict[str, tuple[nn.Module, list[int]]]:
    """Networks, with the channels of their spaces in order."""
    found = {
        f"between: {name}": (around(module), [*sizes])
        for name, (module, sizes) in between().items()
    }
    for name, (module, sizes) in found.items():
        rest = {"between: gate": [4], "between: grouped, equal positions": [8]}.get(name, [])
        rest = [16] if name == "between: dilated" else rest
        found[name] = (module, [*sizes, *rest, 8])
    return found | _flattened() | _joined() | _several() | _whole()


def _flattened() -> dict[str, tuple[nn.Module, list[int]]]:
    def net(flatten: Callable[[Tensor], Tensor]) -> nn.Module:
        return Net(
            lambda self, x: self.fc(flatten(self.a(x).relu())),
            a=nn.Conv2d(3, 16, 3, padding=1, stride=4),
            fc=nn.Linear(256, 4),
        )

    return {
        "flatten": (net(lambda x: x.flatten(1)), [16]),
        "flatten of pixels first": (net(lambda x: x.permute(0, 2, 3, 1).flatten(1)), [16]),
        "view": (net(lambda x: x.view(x.size(0), -1)), [16]),
        "view with a size": (net(lambda x: x.view(-1, 256)), [16]),
        "reshape in two steps": (
            net(lambda x: x.reshape(x.shape[0], 16, 16).reshape(-1, 256)),
            [16],
        ),
    }


def _joined() -> dict[str, tuple[nn.Module, list[int]]]:
    return {
        "concatenation": (
            Net(
                lambda self, x: self.fc(
                    self.c(self.n(torch.cat([self.a(x), x, self.b(x)], 1))).relu().mean((2, 3))
                ),
                a=conv(3, 6),
                b=conv(3, 10),
                n=nn.BatchNorm2d(19),
                c=conv(19, 8),
                fc=nn.Linear(8, 4),
            ),
            [6, 10, 8],
        ),
        "concatenation into a dense layer": (
            Net(
                lambda self, x: self.fc(torch.cat([self.a(x), self.b(x)], 1).flatten(1)),
                a=conv(3, 2, stride=2),
                b=conv(3, 3, stride=2),
                fc=nn.Linear(320, 4),
            ),
            [2, 3],
        ),
        "addition": (
            Net(
                lambda self, x: self.fc((self.a(x) + self.b(self.c(x))).relu().mean((2, 3))),
                a=conv(3, 8),
                b=conv(5, 8),
                c=conv(3, 5),
                fc=nn.Linear(8, 4),
            ),
            [8, 5],
        ),
        "padded shortcut": (
            Net(_padded, a=conv(3, 8), b=conv(8, 16, stride=2), fc=nn.Linear(16, 4)),
            [8, 16],
        ),
        "split": (
            Net(
                _split,
                a=conv(3, 12),
                b=conv(4, 6),
                c=conv(8, 6),
                fc=nn.Linear(6, 4),
            ),
            [4, 8, 6],
        ),
        "pixel shuffle": (
            Net(
                lambda self, x: self.fc(self.c(self.u(self.b(self.s(self.a(x))))).mean((2, 3))),
                a=conv(3, 32),
                s=nn.PixelShuffle(2),
                b=conv(8, 6),
                u=nn.PixelUnshuffle(2),
                c=conv(24, 5),
                fc=nn.Linear(5, 4),
            ),
            [8, 6, 5],
        ),
    }


def _split(self: Net, x: Tensor) -> Tensor:
    first, second = self.a(x).split([4, 8], 1)
    return self.fc((self.b(first) + self.c(second)).mean((2, 3)))


def _padded(self: Net, x: Tensor) -> Tensor:
    x = self.a(x).sigmoid()
    short = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4))
    return self.fc((self.b(x) + short).relu().mean((2, 3)))


def _several() -> dict[str, tuple[nn.Module, list[int]]]:
    def twice(other: Callable[[Tensor], Tensor]) -> nn.Module:
        def forward(self: Net, x: Tensor) -> Tensor:
            x = self.a(x).relu()
            return self.fc(self.h(x).mean((2, 3)) + self.h(other(x)).mean((2, 3)))

        return Net(forward, a=conv(3, 16), h=conv(16, 16), fc=nn.Linear(16, 4))

    tied = Net(
        lambda self, x: self.fc(self.c(self.b(self.a(x).relu()).relu()).relu().mean((2, 3))),
        a=conv(3, 16),
        b=conv(16, 16),
        c=conv(16, 16),
        fc=nn.Linear(16, 4),
    )
    tied.c.weight = tied.b.weight
    return {
        "called twice": (twice(lambda x: x.flip(3)), [16, 16]),
        "called twice on two sizes": (twice(lambda x: functional.avg_pool2d(x, 2)), [16, 16]),
        "tied weights": (tied, []),
    }


def _tokens(self: Net, x: Tensor) -> Tensor:
    x = self.a(x).permute(0, 2, 3, 1)
    return self.fc((x + self.g(self.f(x).relu())).mean((1, 2)))


def _attention(self: Net, x: Tensor) -> Tensor:
    x = self.a(x).flatten(2).transpose(1, 2)
    return self.fc(self.m(x, x, x, need_weights=False)[0].mean(1))


def _whole() -> dict[str, tuple[nn.Module, list[int]]]:
    patches = {"a": nn.Conv2d(3, 16, 4, stride=4)}
    return {
        "dense layers on tokens": (
            Net(_tokens, **patches, f=nn.Linear(16, 64), g=nn.Linear(64, 16), fc=nn.Linear(16, 4)),
            [16, 64],
        ),
        "attention": (
            Net(
                _attention,
                **patches,
                m=nn.MultiheadAttention(16, 4, batch_first=True),
                fc=nn.Linear(16, 4),
            ),
            [],
        ),
        "transposed convolutions": (
            Net(
                lambda self, x: self.fc(self.c(self.b(self.a(x))).mean((2, 3))),
                a=conv(3, 16),
                b=nn.ConvTranspose2d(16, 8, 2, stride=2, groups=2),
                c=conv(8, 8, groups=8),
                fc=nn.Linear(8, 4),
            ),
            [8, 4],
        ),
        "one dimension": (
            Net(
                lambda self, x: self.fc(self.b(self.n(self.a(x.flatten(2))).relu()).mean(2)),
                a=nn.Conv1d(3, 12, 5, stride=2, padding=2),
                n=nn.BatchNorm1d(12),
                b=nn.Conv1d(12, 8, 3, groups=4),
                fc=nn.Linear(8, 4),
            ),
            [3, 2],
        ),
    }
