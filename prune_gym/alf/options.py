"""Constants of ALF."""

from dataclasses import dataclass
from numbers import Real

ACTIVATIONS = ("linear", "tanh")
GRADIENTS = ("encoder", "straight")


@dataclass(frozen=True)
class ALFOptions:
    """Constants of the autoencoders (this project's formulation; see ``docs/alf.md``).

    ALF (Frickenstein et al., DAC 2020, arXiv 2007.13384). ``pr_max``, ``m`` and ``threshold`` are
    the paper's names, their defaults as far as they are known; all others are this project's
    choice, by measurement.

    Args:
        pr_max: Share of codes that the autoencoder may clip, 0 to 1; one code always stays.
        m: Steepness of the sparsity's schedule, above 0.
        threshold: t; mask entries up to this count as zero.
        sigma_ae: Activation of encoder and decoder, ``"linear"`` or ``"tanh"``.
        scale: s of ``tanh(s x) / s``, which ``"tanh"`` stands for: the encoder shrinks the weights
            and the expansion blows them up again, as tanh of the weights themselves bends the
            codes of a trained network by 7 to 23 %.
        gradient: How the task's gradient of a code filter reaches W: through the ``"encoder"``
            and the mask, both held fixed, or ``"straight"`` to the filter of the same number, as
            the paper has it. Once the encoder has mixed filters, the straight one points elsewhere.
        weight: Of the sparsity against the reconstruction error; it multiplies nu.
        autoencoder_learning_rate: Of encoder and decoder, as a share of the step that their
            loss's curvature allows (a bound of it is computed at every step): with a fixed rate
            the autoencoder diverges where few filters have most of a layer's weight.
        mask_learning_rate: Of the mask; multiplied by the number of codes, as the gradients of the
            relative error and of the mean are that much smaller.
        updates: Of the autoencoder for each mini-batch of the task.

    Raises:
        ValueError: A constant is out of range or unknown; the message names it.
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
                f"pr_max={self.pr_max!r} is not within [0, 1]: it is the share of codes to clip"
            )
        if not 0 <= self.threshold < 1:
            raise ValueError(
                f"threshold={self.threshold} is not within [0, 1): mask entries start at 1 and "
                "those up to it count as zero"
            )
        if self.sigma_ae not in ACTIVATIONS:
            raise ValueError(f"sigma_ae={self.sigma_ae!r} is not one of {', '.join(ACTIVATIONS)}")
        if self.gradient not in GRADIENTS:
            raise ValueError(f"gradient={self.gradient!r} is not one of {', '.join(GRADIENTS)}")
        for name in ("m", "scale", "weight", "autoencoder_learning_rate", "mask_learning_rate"):
            value = getattr(self, name)
            number = isinstance(value, Real) and not isinstance(value, bool)
            if not number or not 0 < value < float("inf"):
                raise ValueError(f"{name}={value!r} must be a finite number above 0")
        if isinstance(self.updates, bool) or not isinstance(self.updates, int) or self.updates < 1:
            raise ValueError(f"updates={self.updates!r} must be a whole number above 0")
