"""Options of ALF."""

from dataclasses import dataclass, fields
from numbers import Real

ACTIVATIONS = ("linear", "tanh")
GRADIENTS = ("encoder", "straight")


@dataclass(frozen=True)
class ALFOptions:
    """Options of the autoencoders (this project's formulation; see ``docs/alf.md``).

    ALF: Frickenstein et al., DAC 2020, arXiv 2007.13384. The names ``pr_max``, ``m`` and
    ``threshold`` are the paper's; their defaults follow the paper where it states them. All other
    options are this project's choice, based on measurements.

    Args:
        pr_max: Share of codes that the autoencoder may clip, 0 to 1; at least one code remains.
        m: Steepness of the sparsity schedule, above 0.
        threshold: Threshold t; mask entries with an absolute value of at most t count as zero.
        sigma_ae: Activation of encoder and decoder, ``"linear"`` or ``"tanh"``.
        scale: Scale s of the activation ``"tanh"``, which computes ``tanh(s x) / s``. An unscaled
            tanh would distort the codes of a trained network by 7 to 23 %.
        gradient: Path of the task gradient from a code filter to W: ``"encoder"`` (through encoder
            and mask, both constant) or ``"straight"`` (to the filter with the same index, as in
            the paper). The straight gradient is wrong once the encoder has mixed filters.
        weight: Weight of the sparsity term relative to the reconstruction error; it multiplies nu.
        autoencoder_learning_rate: Learning rate of encoder and decoder, relative to the largest
            step that the curvature of the loss allows (a bound is computed at each step). With an
            absolute rate, the autoencoder diverges if a few filters hold most of a layer's weight.
        mask_learning_rate: Learning rate of the mask. It is multiplied by the number of codes,
            because the gradients of the relative error and the mean are inversely proportional to
            this number.
        updates: Autoencoder steps per mini-batch of the task.

    Raises:
        ValueError: If an option is out of range or unknown. The message names the option.
    """

    pr_max: float = 0.85
    m: float = 8.0
    threshold: float = 1e-4
    sigma_ae: str = "linear"
    scale: float = 0.005
    gradient: str = "encoder"
    weight: float = 12.0
    autoencoder_learning_rate: float = 0.5
    mask_learning_rate: float = 4e-3
    updates: int = 8

    def __post_init__(self) -> None:
        for name in ("pr_max", "threshold"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Real):
                raise ValueError(f"{name}={value!r} must be a number")
        if not 0 <= self.pr_max <= 1:
            raise ValueError(
                f"pr_max={self.pr_max!r} must be in [0, 1]; it is the share of codes to clip"
            )
        if not 0 <= self.threshold < 1:
            raise ValueError(
                f"threshold={self.threshold} must be in [0, 1); mask entries start at 1, and "
                "entries up to the threshold count as zero"
            )
        if self.sigma_ae not in ACTIVATIONS:
            raise ValueError(f"sigma_ae={self.sigma_ae!r} must be one of {', '.join(ACTIVATIONS)}")
        if self.gradient not in GRADIENTS:
            raise ValueError(f"gradient={self.gradient!r} must be one of {', '.join(GRADIENTS)}")
        for name in ("m", "scale", "weight", "autoencoder_learning_rate", "mask_learning_rate"):
            value = getattr(self, name)
            number = isinstance(value, Real) and not isinstance(value, bool)
            if not number or not 0 < value < float("inf"):
                raise ValueError(f"{name}={value!r} must be a finite number above 0")
        if isinstance(self.updates, bool) or not isinstance(self.updates, int) or self.updates < 1:
            raise ValueError(f"updates={self.updates!r} must be an integer >= 1")


@dataclass(frozen=True)
class CompressOptions(ALFOptions):
    """Hyperparameters of the compression of a whole network; this project's choice.

    The options of :class:`ALFOptions` apply to the blocks; here, some may be None.

    Args:
        pr_max: Share of codes that the autoencoders may clip, 0 to 1. None: the share that the
            environment's target needs, or 0.85 without a target.
        first_updates: Updates of each autoencoder before the first image. Afterwards all codes
            that may be clipped are clipped, and each block is repaired as in a step of the
            environment. For trained weights, this is better than clipping the codes in the middle
            of the training. With 0, and always from scratch, codes are clipped during the training,
            as in the paper.
        mask_learning_rate: Learning rate of the masks. None: the default of :class:`ALFOptions` if
            there are first updates; otherwise a rate at which the first mask entries reach zero
            after 30 % of the first episode.
        updates: Updates of each autoencoder per mini-batch; fewer than in a step of the
            environment, because there are many more mini-batches.
        epochs: Epochs of two-player training in an episode; the next episode continues with the
            same network.
        learning_rate: Peak learning rate of the task player, with one cycle per episode.
        distillation: Weight of the unpruned network's soft labels; 0 when training from scratch.
        from_scratch: Whether to start from random weights instead of the trained ones.
    """

    pr_max: float | None = None  # type: ignore[assignment]
    mask_learning_rate: float | None = None  # type: ignore[assignment]
    updates: int = 2
    first_updates: int = 200
    epochs: float = 1.0
    learning_rate: float = 0.05
    distillation: float = 0.7
    from_scratch: bool = False

    def __post_init__(self) -> None:
        self.block()
        first = self.first_updates
        if isinstance(first, bool) or not isinstance(first, int) or first < 0:
            raise ValueError(f"first_updates={first!r} must be an integer >= 0")
        if not 0 < self.epochs < float("inf"):
            raise ValueError(f"epochs={self.epochs} must be above 0")
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"learning_rate={self.learning_rate} must be above 0")
        if not 0 <= self.distillation <= 1:
            raise ValueError(f"distillation={self.distillation} must be in [0, 1]")
        if not isinstance(self.from_scratch, bool):
            raise ValueError(f"from_scratch={self.from_scratch!r} must be true or false")

    def block(self, **defaults: float) -> ALFOptions:
        """Return the options of the blocks.

        Args:
            defaults: Values of the options that are None.

        Raises:
            ValueError: If a value is out of range.
        """
        own = {field.name: getattr(self, field.name) for field in fields(ALFOptions)}
        given = {name: value for name, value in own.items() if value is not None}
        return ALFOptions(**(defaults | given))

    @property
    def clips_first(self) -> bool:
        """Whether codes are clipped before the training."""
        return self.first_updates > 0 and not self.from_scratch
