"""The block: a convolution whose filters an autoencoder squeezes into fewer codes."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from prune_gym.alf.options import ALFOptions
from prune_gym.errors import PruneGymError


class ALFConv2d(nn.Module):
    """A convolution W that runs as code filters and a 1 x 1 expansion.

    In this project's formulation, with W as a matrix of Co rows, a filter each::

        W_code = sigma_ae(W_enc^T W) * M_clip     the code filters, one a row
        W_rec  = sigma_ae(W_dec^T W_code)         the autoencoder's reconstruction of W
        A~     = A_prev (conv) W_code             the code maps
        A      = (W_dec^T + W_exp) A~ + bias      the expansion, 1 x 1

    The task's loss trains W (``options.gradient`` says how it passes the autoencoder) and W_exp;
    the autoencoder's own loss trains W_enc, W_dec and M. The expansion is the decoder and the
    task's correction W_exp of it, which starts at zero: so the block's function is kept as well as
    the autoencoder rebuilds W, however it turns the codes. Only the codes alive are computed, so
    those clipped get no gradient and the block becomes faster as it becomes smaller.

    Args:
        conv: The convolution; it is not changed.
        options: Constants.

    Attributes:
        weight: W, shape (Co, Ci, K, K).
        encoder: W_enc, shape (Co, Co); the columns are codes.
        decoder: W_dec, shape (Co, Co); the rows are codes.
        mask: M, shape (Co,).
        expansion: W_exp, shape (Co, Co, 1, 1); and the convolution's bias where it had one.

    Raises:
        ValueError: A grouped convolution, or one whose padding is not zeros.
    """

    def __init__(self, conv: nn.Conv2d, options: ALFOptions) -> None:
        super().__init__()
        if conv.groups != 1:
            raise ValueError(
                f"ALF does not support groups={conv.groups}: the filters of a group share no "
                "inputs with the others'; leave this convolution out"
            )
        if conv.padding_mode != "zeros" or isinstance(conv.padding, str):
            raise ValueError(
                f"ALF does not support padding={conv.padding!r} with mode {conv.padding_mode!r}; "
                "give the padding as numbers, of zeros"
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
        """A block that nothing is known of yet: W, autoencoder and expansion drawn anew.

        Args:
            conv: Gives the shapes; its weights are not used.
            options: Constants.
            generator: Draws; a CPU generator.
        """
        block = cls(conv, options)
        count = block.out_channels
        # He et al. 2015 for what the images run through, Glorot and Bengio 2010 for the rest.
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

    # What the task sees

    def alive(self) -> Tensor:
        """Which codes are not clipped: ``|M| > t``. Boolean, shape (Co,), on the CPU."""
        return (self.mask.detach().abs() > self.options.threshold).cpu()

    @property
    def codes_alive(self) -> int:
        """How many codes are not clipped."""
        return int(self.alive().sum())

    @property
    def sparsity(self) -> float:
        """theta: the share of codes that are clipped."""
        return 1 - self.codes_alive / self.out_channels

    def code_filters(self) -> Tensor:
        """The codes alive, shape (alive, Ci, K, K); the task's gradient passes through to W."""
        index, shape = self._index(), self.weight.shape[1:]
        if self.options.gradient == "encoder":
            return self._codes_of(self.weight, self.encoder.detach(), self.mask.detach())[
                index
            ].view(-1, *shape)
        codes = self._encoded().detach()[index].view(-1, *shape)
        own = self.weight[index]
        # The value is the code's, the gradient W's (straight-through estimator).
        return codes + (own - own.detach())

    def expansion_filters(self) -> Tensor:
        """W_dec^T + W_exp of the codes alive, shape (Co, alive, 1, 1)."""
        index = self._index()
        decoder = self.decoder.detach()[index].T[:, :, None, None]
        return decoder + self.expansion.weight[:, index]

    @torch.no_grad()
    def set_expansion(self, filters: Tensor) -> None:
        """Give the expansion other values, for example repaired ones.

        Args:
            filters: As :meth:`expansion_filters` has them.
        """
        index = self._index()
        own = filters - self.decoder[index].T[:, :, None, None]
        self.expansion.weight[:, index] = own

    def codes(self, x: Tensor) -> Tensor:
        """The code maps, shape (N, Co, H', W'); those clipped are zero."""
        small = self._convolve(x)
        result = small.new_zeros(small.shape[0], self.out_channels, *small.shape[2:])
        return result.index_copy(1, self._index(), small)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, Ci, H, W) to (N, Co, H', W')."""
        return functional.conv2d(self._convolve(x), self.expansion_filters(), self.expansion.bias)

    def _convolve(self, x: Tensor) -> Tensor:
        filters = self.code_filters()
        return functional.conv2d(
            x,
            filters,
            None,
            self.stride,
            self.padding,
            self.dilation,
        )

    def _index(self) -> Tensor:
        return self.alive().nonzero().flatten().to(self.mask.device)

    # The autoencoder

    def _sigma(self, x: Tensor) -> Tensor:
        if self.options.sigma_ae == "linear":
            return x
        return (self.options.scale * x).tanh() / self.options.scale

    def _encoded(self) -> Tensor:
        """W_code, shape (Co, Ci K K): the clipped rows are zero."""
        return self._codes_of(self.weight.detach(), self.encoder, self.mask)

    def _codes_of(self, weight: Tensor, encoder: Tensor, mask: Tensor) -> Tensor:
        clipped = torch.where(mask.abs() > self.options.threshold, mask, 0)
        return self._sigma(encoder.T @ weight.flatten(1)) * clipped[:, None]

    def _error(self) -> Tensor:
        """Squared error of the reconstruction, relative to W's own square."""
        own = self.weight.detach().flatten(1)
        rebuilt = self._sigma(self.decoder.T @ self._encoded())
        return (own - rebuilt).square().sum() / own.square().sum().clamp_min(1e-12)

    def reconstruction_error(self) -> float:
        """Squared error of W_rec, relative to W's own square; 0 where nothing was lost."""
        with torch.no_grad():
            return float(self._error())

    def autoencoder_loss(self) -> Tensor:
        """L_ae: relative reconstruction error, and nu times the mean of the mask's entries."""
        clipped = torch.where(self.mask.abs() > self.options.threshold, self.mask, 0)
        sparsity = self.options.weight * nu(self.sparsity, self.options)
        return self._error() + sparsity * clipped.abs().mean()

    def autoencoder_step(self) -> None:
        """One step of the autoencoder's player: SGD on W_enc, W_dec and M. It needs no images.

        No more than ``floor(pr_max * Co)`` codes are ever clipped, and one always stays: of the
        entries that would vanish in one step beyond that, the largest stay as they were.

        Raises:
            PruneGymError: The loss is no number any more.
        """
        options, loss = self.options, self.autoencoder_loss()
        if not torch.isfinite(loss):
            raise PruneGymError(
                "An ALF block's weights are no numbers any more: the training diverged. Lower the "
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
        if self.codes_alive <= self._least():
            # The mask has done its work, and small entries would only disturb the task's player.
            self.fold()

    @torch.no_grad()
    def clip(self) -> None:
        """Clip at once all that may be clipped, the smallest mask entries first, and fold."""
        order = self.mask.abs().argsort(descending=True, stable=True)
        self.mask[order[self._least() :]] = 0
        self.fold()

    def _least(self) -> int:
        """How many codes stay at least."""
        return max(1, self.out_channels - math.floor(self.options.pr_max * self.out_channels))

    @torch.no_grad()
    def fold(self) -> None:
        """Set the mask of the codes left to 1; block and autoencoder compute what they did.

        The search for sparsity leaves small mask entries before a large encoder, and a refit of
        the expansion would answer them with large weights: the task's steps, and the
        autoencoder's, would then be far too long. A linear encoder's codes become as large as the
        filters, too.
        """
        alive = self._index()
        sizes = self.mask[alive].clone()
        if self.options.sigma_ae == "linear":
            own = self.weight.flatten(1)
            codes = (self.encoder[:, alive].T @ own).norm(dim=1)
            shrink = own.norm(dim=1).mean() / codes.clamp_min(1e-8)
            # Codes of nothing (filters of zeros alone) are large enough as they are.
            shrink = torch.where(shrink > 0, shrink, 1.0)
            self.encoder[:, alive] *= shrink
            sizes /= shrink
        self.expansion.weight[:, alive] *= sizes[:, None, None]
        self.decoder[alive] *= sizes[:, None]
        self.mask[alive] = 1

    def _curvatures(self) -> tuple[Tensor, Tensor]:
        """Bounds of the relative error's curvature in W_enc and in W_dec (for slopes up to 1).

        ``2 |W W^T| |M W_dec W_dec^T M| / |W|^2`` and ``2 |W_code W_code^T| / |W|^2``, with the
        row-sum norm for the largest eigenvalue, which it is never below.
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
        # An entry that the step carries across zero has vanished: L1's pull ends there.
        moved = torch.where((moved * before <= 0) | (moved.abs() <= threshold), 0.0, moved)
        moved = torch.where(was, moved, before)
        missing = self._least() - int((moved.abs() > threshold).sum())
        if missing > 0:
            lost = (was & (moved.abs() <= threshold)).nonzero().flatten()
            order = before[lost].abs().argsort(descending=True, stable=True)
            back = lost[order[:missing]]
            moved[back] = before[back]
        self.mask.copy_(moved)


def nu(theta: float, options: ALFOptions) -> float:
    """The weight of sparsity: ``max(0, 1 - exp(m * (theta - pr_max)))``.

    Args:
        theta: Share of codes that are clipped, 0 to 1.
        options: Gives ``m`` and ``pr_max``.
    """
    return max(0.0, 1 - math.exp(options.m * (theta - options.pr_max)))
