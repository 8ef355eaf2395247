"""Hyperparameters of the whole-network agent."""

from dataclasses import dataclass, fields

from prune_gym.alf import ALFOptions

CLIPPED = 0.3
"""Share of the first episode's training at which the first codes are clipped."""


@dataclass(frozen=True)
class WholeOptions(ALFOptions):
    """How the whole network is trained; the defaults are this project's choice.

    The options of :class:`prune_gym.alf.ALFOptions` are the blocks'; here some may be left open.

    Args:
        pr_max: Share of codes that the autoencoders may clip, 0 to 1. None: what the
            environment's target needs, or 0.85 without one.
        first_updates: Of each autoencoder before the first image is seen; all is clipped then
            that may be, and each block is repaired as in a step of the environment. From trained
            weights that is a better start than to let all codes fall in the midst of the training.
            0, and always from scratch: the codes fall during the training, as the paper has it.
        mask_learning_rate: None: the blocks' default where there are first updates; else the
            first masks vanish when :data:`CLIPPED` of the first episode has passed.
        updates: Of each autoencoder at a mini-batch: fewer than in a step of the environment, as
            there are many more mini-batches.
        epochs: Of two-player training in an episode; the next episode goes on with its network.
        learning_rate: Peak of the task player's, one cycle an episode.
        distillation: Weight of the unpruned network's soft labels; 0 when training from scratch.
        from_scratch: Start from fresh weights in place of the trained ones.
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
            raise ValueError(f"first_updates={first!r} must be a whole number, 0 or more")
        if not 0 < self.epochs < float("inf"):
            raise ValueError(f"epochs={self.epochs} must be above 0")
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"learning_rate={self.learning_rate} must be above 0")
        if not 0 <= self.distillation <= 1:
            raise ValueError(f"distillation={self.distillation} is not within [0, 1]")
        if not isinstance(self.from_scratch, bool):
            raise ValueError(f"from_scratch={self.from_scratch!r} must be true or false")

    def block(self, **open_ones: float) -> ALFOptions:
        """The blocks' own options.

        Args:
            open_ones: What was left open.

        Raises:
            ValueError: One is out of range.
        """
        own = {field.name: getattr(self, field.name) for field in fields(ALFOptions)}
        given = {name: value for name, value in own.items() if value is not None}
        return ALFOptions(**(open_ones | given))

    @property
    def clips_first(self) -> bool:
        """Whether the codes are clipped before the training."""
        return self.first_updates > 0 and not self.from_scratch
