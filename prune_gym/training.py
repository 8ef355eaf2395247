"""Training and evaluation of networks; images are converted from uint8 batch by batch."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.sgd import sgd

from prune_gym.batches import Images, NormalizedImages, batch_size
from prune_gym.data import Normalization, Split, augment
from prune_gym.pruning.batch_norm import is_frozen

EVALUATION_BATCH = 250
"""Number of images in a forward pass of an evaluation; fewer if they are large."""


@dataclass(frozen=True)
class TrainingOptions:
    """Options of a training. The defaults are those of the fine-tuning in an environment step.

    Args:
        batch_size: Images per mini-batch.
        learning_rate: Learning rate of SGD; the peak value for schedule ``"one_cycle"``.
        momentum: Nesterov momentum.
        weight_decay: Weight decay of all parameters with at least two dimensions.
        schedule: Schedule of the learning rate, ``"constant"`` or ``"one_cycle"`` (linear warm-up
            over 30 %, then cosine decay to zero).
        distillation: Weight of the teacher's soft labels, 0 to 1 (Hinton et al. 2015).
        temperature: Temperature of the soft labels.
    """

    batch_size: int = 128
    learning_rate: float = 0.02
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: str = "constant"
    distillation: float = 0.0
    temperature: float = 4.0


def train(
    network: nn.Module,
    split: Split,
    batches: int,
    generator: torch.Generator,
    options: TrainingOptions,
    teacher: nn.Module | None = None,
    progress: Callable[[int, float], None] | None = None,
    part: "Part | None" = None,
    optimizer: "Optimizer | None" = None,
    normalization: Normalization | None = None,
) -> None:
    """Train a network in place for a number of mini-batches, on the device of the network.

    Images are drawn without replacement; when all have been used, they are shuffled again. Frozen
    parameters (``requires_grad`` is False) stay as they are, and so do the statistics of a batch
    norm whose parameters are frozen. If all are frozen, nothing changes.

    Args:
        network: The network; it is in ``eval`` mode afterwards.
        split: Training images and labels.
        batches: Number of mini-batches; 0 changes nothing.
        generator: Random generator (CPU) of the image order and the augmentation.
        options: Options of optimiser, schedule and loss.
        teacher: Network for the soft labels; required if ``distillation`` is above 0.
        progress: Function that is called after each mini-batch with its number and loss.
        part: Part of the network to train; None for the whole network.
        optimizer: Optimiser; None for SGD on the part's parameters.
        normalization: Normalisation of the network; None for the default of the images.

    Raises:
        ValueError: If ``distillation`` is above 0 without a teacher, or the schedule is unknown.
    """
    if options.distillation and teacher is None:
        raise ValueError(
            f"distillation={options.distillation} needs a teacher; pass one, or set it to 0"
        )
    part = part or Part(network, list(network.parameters()))
    if batches == 0 or not any(parameter.requires_grad for parameter in part.parameters):
        network.eval()
        return
    optimizer = optimizer or Sgd(part.parameters, options)
    device = next(network.parameters()).device
    normalize = normalization or Normalization.default(split.images.shape[1])
    network.train()
    for module in network.modules():
        if is_frozen(module):
            module.eval()
    # Dropout and similar layers use torch's global generators: seed them here, then restore them.
    forked = [device] if device.type == "cuda" else []
    order = torch.empty(0, dtype=torch.int64)
    with torch.random.fork_rng(devices=forked):
        torch.manual_seed(generator.initial_seed())
        for batch in range(batches):
            if order.numel() < min(options.batch_size, len(split.labels)):
                order = torch.randperm(len(split.labels), generator=generator)
            chosen, order = order[: options.batch_size], order[options.batch_size :]
            images = normalize(augment(split.images[chosen], generator), device)
            labels = split.labels[chosen].to(device)
            loss = _loss(part.forward(images), labels, options, teacher, images)
            loss.backward()
            optimizer.step(_learning_rate(options, batch, batches))
            if progress is not None:
                progress(batch + 1, float(loss.detach()))
    network.eval()


@dataclass(frozen=True)
class Part:
    """The part of a network to train.

    Args:
        forward: Function that maps normalised images to logits.
        parameters: Parameters that the optimiser updates; at least one.
    """

    forward: Callable[[Tensor], Tensor]
    parameters: list[nn.Parameter]


class Optimizer(Protocol):
    """Interface of the optimisers that :func:`train` accepts."""

    def step(self, learning_rate: float) -> None:
        """Apply the gradients and clear them."""


class Sgd:
    """SGD with torch's functional implementation instead of its optimiser class.

    The first ``torch.optim.SGD`` object loads torch's compiler, which takes two seconds. The
    underlying function computes the same weights, bit for bit (tested).

    Args:
        trained: Parameters to train; those without gradients are ignored.
        options: Momentum and weight decay.
    """

    def __init__(self, trained: Sequence[nn.Parameter], options: TrainingOptions) -> None:
        self.momentum = options.momentum
        # A parameter that layers share may be given twice, but is updated once.
        parameters: list[Tensor] = [p for p in dict.fromkeys(trained) if p.requires_grad]
        decayed = [p for p in parameters if p.dim() > 1]
        plain = [p for p in parameters if p.dim() <= 1]
        self.groups: list[tuple[list[Tensor], list[Tensor | None], float]] = [
            (group, [None] * len(group), decay)
            for group, decay in ((decayed, options.weight_decay), (plain, 0.0))
        ]
        for parameter in parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Apply the gradients and clear them."""
        for group, buffers, decay in self.groups:
            sgd(
                group,
                [p.grad if p.grad is not None else torch.zeros_like(p) for p in group],
                buffers,
                weight_decay=decay,
                momentum=self.momentum,
                lr=learning_rate,
                dampening=0.0,
                nesterov=self.momentum > 0,
                maximize=False,
                foreach=False,
            )
            for parameter in group:
                parameter.grad = None


def _learning_rate(options: TrainingOptions, batch: int, batches: int) -> float:
    if options.schedule == "constant":
        return options.learning_rate
    if options.schedule != "one_cycle":
        raise ValueError(f"schedule={options.schedule!r} must be 'constant' or 'one_cycle'")
    done = (batch + 1) / (batches + 1)
    if done < 0.3:
        return options.learning_rate * done / 0.3
    return options.learning_rate * (1 + math.cos(math.pi * (done - 0.3) / 0.7)) / 2


def _loss(
    logits: Tensor,
    labels: Tensor,
    options: TrainingOptions,
    teacher: nn.Module | None,
    images: Tensor,
) -> Tensor:
    loss = functional.cross_entropy(logits, labels)
    if not options.distillation or teacher is None:
        return loss
    with torch.no_grad():
        soft = functional.softmax(teacher(images) / options.temperature, dim=1)
    log_probabilities = functional.log_softmax(logits / options.temperature, dim=1)
    divergence = functional.kl_div(log_probabilities, soft, reduction="batchmean")
    kept = 1 - options.distillation
    return kept * loss + options.distillation * options.temperature**2 * divergence


@torch.no_grad()
def accuracy(network: nn.Module, images: Images, labels: Tensor) -> float:
    """Compute the share of correctly classified images.

    Args:
        network: The network, in ``eval`` mode.
        images: Normalised images, shape (N, C, H, W), on the network's device.
        labels: Labels, shape (N,), on the same device.
    """
    correct = 0
    size = batch_size(images, EVALUATION_BATCH)
    for part, truth in zip(images.split(size), labels.split(size), strict=True):
        correct += int((network(part).argmax(1) == truth).sum())
    return correct / len(labels)


def split_accuracy(
    network: nn.Module,
    split: Split,
    device: torch.device | str = "cpu",
    normalization: Normalization | None = None,
) -> float:
    """Compute the accuracy of a network on ``device`` (in ``eval`` mode) on a whole split.

    ``normalization`` is that of the network; None for the default of the images.
    """
    normalize = normalization or Normalization.default(split.images.shape[1])
    images = NormalizedImages(split.images, normalize, device)
    return accuracy(network, images, split.labels.to(device))
