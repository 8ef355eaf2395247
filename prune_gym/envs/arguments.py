"""The environment's numbers, checked by name before anything is loaded."""


def check_arguments(
    max_epochs: float,
    batch_size: int,
    learning_rate: float,
    min_keep: int,
    round_to: int,
    search_budget: int | None,
    threads: int | None,
) -> None:
    """Refuse arguments of :class:`prune_gym.envs.PruningEnv` that are out of range.

    Raises:
        ValueError: Naming the first of them.
    """
    for name, value, least in (
        ("batch_size", batch_size, 2),
        ("min_keep", min_keep, 1),
        ("round_to", round_to, 1),
        ("search_budget", search_budget, 1),
        ("threads", threads, 1),
    ):
        if value is None and name in ("search_budget", "threads"):
            continue
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"{name}={value!r} must be a whole number")
        if value < least:
            raise ValueError(f"{name}={value} must be at least {least}")
    if threads is not None and threads > 1024:
        raise ValueError(f"threads={threads} must be at most 1024")
    for name, number in (("max_epochs", max_epochs), ("learning_rate", learning_rate)):
        if isinstance(number, str | bool) or not 0 < number < float("inf"):
            raise ValueError(f"{name}={number} must be a finite number above 0")
