"""Training and evaluation of a network on images that stay uint8 until a batch needs them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.sgd import sgd

from prune_gym.data import Split, augment, normalize

EVALUATION_BATCH = 250


@dataclass(frozen=True)
class TrainingOptions:
    """How a network is trained. The defaults are the fine-tuning of one environment step.

    Args:
        batch_size: Images a mini-batch.
        learning_rate: Of SGD; the peak where the schedule is ``"one_cycle"``.
        momentum: Nesterov momentum.
        weight_decay: On all parameters of two dimensions or more.
        schedule: ``"constant"`` or ``"one_cycle"`` (linear up over 30 %, then cosine to zero).
        distillation: Weight of the teacher's soft labels, 0 to 1 (Hinton et al. 2015).
        temperature: Of the soft labels.
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
) -> None:
    """Train a network in place for a number of mini-batches, on the device that it is on.

    Images are drawn without replacement until all were seen, then shuffled anew.

    Args:
        network: The network; left in ``eval`` mode.
        split: Training images and labels.
        batches: How many mini-batches; 0 changes nothing.
        generator: Draws the order and the augmentation; a CPU generator.
        options: Optimiser, schedule and loss.
        teacher: The network that gives soft labels; needed where ``distillation`` is above 0.
        progress: Called after each mini-batch with its number and loss.
        part: What is trained where it is not the whole network.
        optimizer: Takes the steps; None: SGD on the part's parameters.

    Raises:
        ValueError: Distillation without a teacher, or an unknown schedule.
    """
    if options.distillation and teacher is None:
        raise ValueError("distillation needs a teacher")
    if batches == 0:
        network.eval()
        return
    part = part or Part(network, list(network.parameters()))
    optimizer = optimizer or Sgd(part.parameters, options)
    device = next(network.parameters()).device
    network.train()
    # Dropout and the like draw from torch's own generators: seeded here, left as they were.
    forked = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=forked):
        torch.manual_seed(generator.initial_seed())
        _loop(part, split, batches, generator, options, teacher, progress, optimizer)
    network.eval()


@dataclass(frozen=True)
class Part:
    """The part of a network that is trained.

    Args:
        forward: Maps normalised images to logits.
        parameters: What the optimiser changes; at least one.
    """

    forward: Callable[[Tensor], Tensor]
    parameters: list[nn.Parameter]


def _loop(
    part: Part,
    split: Split,
    batches: int,
    generator: torch.Generator,
    options: TrainingOptions,
    teacher: nn.Module | None,
    progress: Callable[[int, float], None] | None,
    optimizer: "Optimizer",
) -> None:
    """The mini-batches of :func:`train`."""
    device = part.parameters[0].device
    order = torch.empty(0, dtype=torch.int64)
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


class Optimizer(Protocol):
    """What :func:`train` needs of whoever moves the weights."""

    def step(self, learning_rate: float) -> None:
        """Apply the gradients and clear them."""


class Sgd:
    """torch's own SGD function, without the optimizer class around it.

    ``torch.optim.SGD`` loads torch's compiler when it is first made, two seconds that a step
    would wait for; the function behind it gives the same weights, bit for bit (tested).

    Args:
        trained: Parameters; those that need no gradient are left out.
        options: Momentum and weight decay.
    """

    def __init__(self, trained: Sequence[nn.Parameter], options: TrainingOptions) -> None:
        self.momentum = options.momentum
        parameters: list[Tensor] = [p for p in trained if p.requires_grad]
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
        raise ValueError(f"schedule={options.schedule!r} is not 'constant' or 'one_cycle'")
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
def accuracy(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of images whose class the network names rightly.

    Args:
        network: In ``eval`` mode.
        images: Normalised, shape (N, 3, H, W), on the network's device.
        labels: Shape (N,), on the same device.

    Returns:
        0 to 1.
    """
    correct = 0
    for start in range(0, len(labels), EVALUATION_BATCH):
        part = slice(start, start + EVALUATION_BATCH)
        correct += int((network(images[part]).argmax(1) == labels[part]).sum())
    return correct / len(labels)


def split_accuracy(network: nn.Module, split: Split, device: torch.device | str = "cpu") -> float:
    """Accuracy on a whole split, normalised batch by batch.

    Args:
        network: In ``eval`` mode, on ``device``.
        split: The images and labels.
        device: Where to compute.

    Returns:
        0 to 1.
    """
    correct = 0.0
    for start in range(0, len(split.labels), 1000):
        part = slice(start, start + 1000)
        labels = split.labels[part].to(device)
        correct += accuracy(network, normalize(split.images[part], device), labels) * len(labels)
    return round(correct) / len(split.labels)
