"""Fit a surrogate to files of records, and write it with its metrics and a picture."""

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from prune_gym import networks
from prune_gym.errors import PruneGymError
from prune_gym.files import sha256, write_atomically
from prune_gym.provenance import versions
from prune_gym.registration import make_environment, real_environment
from prune_gym.surrogate import predictor, records
from prune_gym.surrogate.fit import FittedSurrogate, fit_surrogate


def fit_files(
    paths: Sequence[Path],
    out: Path | None = None,
    picture: Path | None = None,
    seed: int = 0,
    threads: int | None = None,
) -> tuple[FittedSurrogate, Path, Path]:
    """Fit a surrogate to files of records.

    Args:
        paths: Files of :func:`prune_gym.runs.recording.record`.
        out: Safetensors file; by default in the cache folder, where environments find it.
        picture: PNG file; by default of the same name as the surrogate.
        seed: Seed of the folds and of the regressor.
        threads: Number of torch threads; by default that of the records.

    Returns:
        The fitted surrogate, the path of its file and the path of the picture.

    Raises:
        PruneGymError: If the name of the file is wrong, or scikit-learn is missing.
        UntrustedError: If the records name a network that the user did not trust.
        DataError: If a file is damaged, or the files were recorded under different conditions.
    """
    if out is not None and (out.suffix != ".safetensors" or out.is_dir()):
        raise PruneGymError(f"out={str(out)!r} must be the name of a .safetensors file")
    predictor.import_library()
    joined = records.joined([records.read(path) for path in paths], [str(path) for path in paths])
    # Records that name no scope were made when "inner" was the default.
    arguments = {"scope": "inner", **joined.header["env_arguments"]}
    networks.check_trusted(arguments.get("network"), str(paths[0]))
    if threads is not None:
        arguments["threads"] = threads
    env = real_environment(make_environment(joined.header["id"], arguments))
    fitted = fit_surrogate(joined, env, seed)
    facts = fitted.surrogate.facts
    facts["records"]["sha256"] = [sha256(path) for path in paths]
    facts["versions"] = versions() | {"scikit-learn": metadata.version("scikit-learn")}
    path = out or predictor.cache_folder() / predictor.file_name(facts["conditions"])
    picture = picture or path.with_suffix(".png")
    fitted.surrogate.save(path)
    plot(fitted, picture)
    return fitted, path, picture


def plot(fitted: FittedSurrogate, path: Path) -> None:
    """Plot predicted over real accuracy of held-out episodes, with a colour for each policy."""
    rows, metrics = fitted.rows, fitted.surrogate.facts["metrics"]["held_out_episodes"]
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    after = rows.position > 0
    for policy in np.unique(rows.policy):
        chosen = after & (rows.policy == policy)
        axes.scatter(rows.accuracy[chosen], fitted.predicted[chosen], s=6, alpha=0.5, label=policy)
    axes.plot([0, 1], [0, 1], color="black", linewidth=0.8)
    axes.set(
        xlabel="real accuracy after a step",
        ylabel="predicted, its episode held out",
        xlim=(0, 1),
        ylim=(0, 1),
        title=f"tau {metrics['tau']:.3f}, mean error {100 * metrics['error']:.2f} points",
    )
    axes.legend(title="played by", markerscale=2)
    write_atomically(path, lambda temporary: figure.savefig(temporary, dpi=120))
