"""The ALF block: a convolution whose filters an autoencoder compresses into fewer codes."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from prune_gym.alf.options import ALFOptions
from prune_gym.errors import PruneGymError


class ALFConv2d(nn.Module):
    """A convolution W that is computed as code filters and a 1 x 1 expansion.

    In this project's formulation, W is a matrix with Co rows, one per filter::

        W_code = sigma_ae(W_enc^T W) * M_clip     code filters, one per row
        W_rec  = sigma_ae(W_dec^T W_code)         the autoencoder's reconstruction of W
        A~     = A_prev (conv) W_code             code maps
        A      = (W_dec^T + W_exp) A~ + bias      expansion, 1 x 1

    The task loss trains W and W_exp; ``options.gradient`` selects how its gradient reaches W
    through the autoencoder. The autoencoder loss trains W_enc, W_dec and M. The expansion is the
    sum of the decoder and a correction W_exp, which starts at zero. The block therefore computes
    the same function as the convolution, up to the reconstruction error of the autoencoder. Only
    codes that are alive are computed: clipped codes get no gradient, and the block becomes faster
    as it shrinks.

    Args:
        conv: The convolution; it is not changed.
        options: Constants of the block.

    Attributes:
        weight: W, shape (Co, Ci, K, K).
        encoder: W_enc, shape (Co, Co), one code per column.
        decoder: W_dec, shape (Co, Co), one code per row.
        mask: M, shape (Co,).
        expansion: W_exp, shape (Co, Co, 1, 1), and the bias of the convolution, if any.

    Raises:
        ValueError: If the convolution is grouped or frozen, or its padding is not zero padding.
    """

    def __init__(self, conv: nn.Conv2d, options: ALFOptions) -> None:
        super().__init__()
        if conv.groups != 1:
            raise ValueError(
                f"ALF does not support groups={conv.groups}: filters of different groups have "
                "different inputs; exclude this convolution"
            )
        if conv.padding_mode != "zeros" or isinstance(conv.padding, str):
            raise ValueError(
                f"ALF does not support padding={conv.padding!r} with mode {conv.padding_mode!r}; "
                "use numeric padding with mode 'zeros'"
            )
        if not conv.weight.requires_grad:
            raise ValueError(
                "ALF does not support frozen weights, because it trains them; set requires_grad, "
                "or exclude this convolution"
            )
        self.options = options
        self.in_channels, self.out_channels = conv.in_channels, conv.out_channels
        self.kernel_size, self.stride = conv.kernel_size, conv.stride
        self.padding, self.dilation = conv.padding, conv.dilation
        count = conv.out_channels
        like: dict[str, Any] = {"device": conv.weight.device, "dtype": conv.weight.dtype}
        identity = torch.eye(count, **like)
        self.weight = nn.Parameter(conv.weight.detach().clone())
        self.encoder = nn.Parameter(identity.clone())
        self.decoder = nn.Parameter(identity.clone())
        self.mask = nn.Parameter(torch.ones(count, **like))
        self.expansion = nn.Conv2d(count, count, 1, bias=conv.bias is not None, **like)
        with torch.no_grad():
            self.expansion.weight.zero_()
            if conv.bias is not None and self.expansion.bias is not None:
                self.expansion.bias.copy_(conv.bias)
        self.train(conv.training)

    @classmethod
    def from_scratch(
        cls, conv: nn.Conv2d, options: ALFOptions, generator: torch.Generator
    ) -> "ALFConv2d":
        """Make a block with randomly initialised W and autoencoder, and an expansion of zeros.

        Args:
            conv: Convolution with the shapes; its weights are not used.
            options: Constants of the block.
            generator: Random generator (CPU).
        """
        block = cls(conv, options)
        count = block.out_channels
        # He et al. 2015 for the convolution, Glorot and Bengio 2010 for the autoencoder.
        spreads = {
            block.weight: math.sqrt(2 / (count * math.prod(block.kernel_size))),
            block.encoder: math.sqrt(1 / count),
            block.decoder: math.sqrt(1 / count),
        }
        with torch.no_grad():
            for tensor, spread in spreads.items():
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * spread)
            if block.expansion.bias is not None:
                block.expansion.bias.zero_()
        return block

    # Forward pass

    def alive(self) -> Tensor:
        """Return which codes are alive, ``|M| > t``: boolean, shape (Co,), on the CPU."""
        return (self.mask.detach().abs() > self.options.threshold).cpu()

    @property
    def codes_alive(self) -> int:
        """Number of codes that are alive (not clipped)."""
        return int(self.alive().sum())

    @property
    def sparsity(self) -> float:
        """Share of clipped codes (theta)."""
        return 1 - self.codes_alive / self.out_channels

    def code_filters(self) -> Tensor:
        """Filters of the codes alive, shape (alive, Ci, K, K); their gradient is passed on to W."""
        index, shape = self._index(), self.weight.shape[1:]
        if self.options.gradient == "encoder":
            codes = self._codes_of(self.weight, self.encoder.detach(), self.mask.detach())
            return codes[index].view(-1, *shape)
        codes = self._encoded().detach()[index].view(-1, *shape)
        own = self.weight[index]
        # Straight-through estimator: the value of the code with the gradient of W.
        return codes + (own - own.detach())

    def expansion_filters(self) -> Tensor:
        """W_dec^T + W_exp of the codes alive, shape (Co, alive, 1, 1)."""
        index = self._index()
        decoder = self.decoder.detach()[index].T[:, :, None, None]
        return decoder + self.expansion.weight[:, index]

    @torch.no_grad()
    def set_expansion(self, filters: Tensor) -> None:
        """Set the expansion to filters in the shape of :meth:`expansion_filters`."""
        index = self._index()
        self.expansion.weight[:, index] = filters - self.decoder[index].T[:, :, None, None]

    def codes(self, x: Tensor) -> Tensor:
        """Code maps, shape (N, Co, H', W'); clipped codes are zero."""
        small = self._convolve(x)
        result = small.new_zeros(small.shape[0], self.out_channels, *small.shape[2:])
        return result.index_copy(1, self._index(), small)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, Ci, H, W) to (N, Co, H', W')."""
        return functional.conv2d(self._convolve(x), self.expansion_filters(), self.expansion.bias)

    def _convolve(self, x: Tensor) -> Tensor:
        filters = self.code_filters()
        return functional.conv2d(x, filters, None, self.stride, self.padding, self.dilation)

    def _index(self) -> Tensor:
        return self.alive().nonzero().flatten().to(self.mask.device)

    # Autoencoder

    def _sigma(self, x: Tensor) -> Tensor:
        if self.options.sigma_ae == "linear":
            return x
        return (self.options.scale * x).tanh() / self.options.scale

    def _encoded(self) -> Tensor:
        """W_code, shape (Co, Ci K K); the rows of clipped codes are zero."""
        return self._codes_of(self.weight.detach(), self.encoder, self.mask)

    def _codes_of(self, weight: Tensor, encoder: Tensor, mask: Tensor) -> Tensor:
        clipped = torch.where(mask.abs() > self.options.threshold, mask, 0)
        return self._sigma(encoder.T @ weight.flatten(1)) * clipped[:, None]

    def _error(self) -> Tensor:
        """Squared error of the reconstruction, relative to the squared norm of W."""
        own = self.weight.detach().flatten(1)
        rebuilt = self._sigma(self.decoder.T @ self._encoded())
        return (own - rebuilt).square().sum() / own.square().sum().clamp_min(1e-12)

    def reconstruction_error(self) -> float:
        """Squared error of W_rec relative to the squared norm of W; 0 if W_rec equals W."""
        with torch.no_grad():
            return float(self._error())

    def autoencoder_loss(self) -> Tensor:
        """L_ae: relative reconstruction error plus weighted mean of the absolute mask entries."""
        clipped = torch.where(self.mask.abs() > self.options.threshold, self.mask, 0)
        sparsity = self.options.weight * nu(self.sparsity, self.options)
        return self._error() + sparsity * clipped.abs().mean()

    def autoencoder_step(self) -> None:
        """Do one SGD step on W_enc, W_dec and M. It needs no images.

        At most ``floor(pr_max * Co)`` codes are clipped, and at least one remains. If a step would
        clip more, the largest of these mask entries keep their previous values.

        Raises:
            PruneGymError: If the loss is NaN or infinite.
        """
        options, loss = self.options, self.autoencoder_loss()
        if not torch.isfinite(loss):
            raise PruneGymError(
                "The training diverged: an ALF block has NaN or infinite weights. Lower the "
                f"learning rate of the task or mask_learning_rate={options.mask_learning_rate}."
            )
        trained = (self.encoder, self.decoder, self.mask)
        encoder, decoder, mask = torch.autograd.grad(loss, trained)
        with torch.no_grad():
            of_encoder, of_decoder = self._curvatures()
            self.encoder.sub_(options.autoencoder_learning_rate / of_encoder * encoder)
            self.decoder.sub_(options.autoencoder_learning_rate / of_decoder * decoder)
            step = options.mask_learning_rate * self.out_channels * mask
            self._move_mask(self.mask - step)
        if self.codes_alive <= self._fewest_codes():
            # No more codes can be clipped, and small mask entries would disturb the task training.
            self.fold()

    @torch.no_grad()
    def clip(self) -> None:
        """Clip as many codes as allowed, those with the smallest mask entries, and fold."""
        order = self.mask.abs().argsort(descending=True, stable=True)
        self.mask[order[self._fewest_codes() :]] = 0
        self.fold()

    def _fewest_codes(self) -> int:
        """Minimum number of codes alive."""
        return max(1, self.out_channels - math.floor(self.options.pr_max * self.out_channels))

    @torch.no_grad()
    def fold(self) -> None:
        """Set the mask of the codes alive to 1; block and autoencoder compute the same functions.

        After training for sparsity, mask entries are small and the encoder is large. A refit of the
        expansion would compensate with large weights, and the steps of both players would become
        far too long. If the encoder is linear, the codes are also scaled to the norm of the
        filters.
        """
        alive = self._index()
        sizes = self.mask[alive].clone()
        if self.options.sigma_ae == "linear":
            own = self.weight.flatten(1)
            codes = (self.encoder[:, alive].T @ own).norm(dim=1)
            shrink = own.norm(dim=1).mean() / codes.clamp_min(1e-8)
            # If all filters are zero, do not scale.
            shrink = torch.where(shrink > 0, shrink, 1.0)
            self.encoder[:, alive] *= shrink
            sizes /= shrink
        self.expansion.weight[:, alive] *= sizes[:, None, None]
        self.decoder[alive] *= sizes[:, None]
        self.mask[alive] = 1

    def _curvatures(self) -> tuple[Tensor, Tensor]:
        """Upper bounds of the relative error's curvature in W_enc and W_dec (for slopes up to 1).

        The bounds are ``2 |W W^T| |M W_dec W_dec^T M| / |W|^2`` and
        ``2 |W_code W_code^T| / |W|^2``, with the row-sum norm, which is at least the largest
        eigenvalue.
        """
        own, codes = self.weight.flatten(1), self._encoded()
        rows = self.decoder * self.mask[:, None]
        twice = 2 / own.square().sum().clamp_min(1e-12)

        def bound(factor: Tensor) -> Tensor:
            return (factor @ factor.T).abs().sum(1).max()

        of_encoder = twice * bound(own) * bound(rows)
        return of_encoder.clamp_min(1e-6), (twice * bound(codes)).clamp_min(1e-6)

    def _move_mask(self, moved: Tensor) -> None:
        before = self.mask.detach().clone()
        was, threshold = before.abs() > self.options.threshold, self.options.threshold
        # An entry whose sign the step would change becomes zero: the L1 gradient ends there.
        moved = torch.where((moved * before <= 0) | (moved.abs() <= threshold), 0.0, moved)
        moved = torch.where(was, moved, before)
        missing = self._fewest_codes() - int((moved.abs() > threshold).sum())
        if missing > 0:
            lost = (was & (moved.abs() <= threshold)).nonzero().flatten()
            order = before[lost].abs().argsort(descending=True, stable=True)
            back = lost[order[:missing]]
            moved[back] = before[back]
        self.mask.copy_(moved)


def nu(theta: float, options: ALFOptions) -> float:
    """Schedule of the sparsity weight: ``max(0, 1 - exp(m * (theta - pr_max)))``.

    Args:
        theta: Share of clipped codes, 0 to 1.
        options: Options with ``m`` and ``pr_max``.
    """
    return max(0.0, 1 - math.exp(options.m * (theta - options.pr_max)))
