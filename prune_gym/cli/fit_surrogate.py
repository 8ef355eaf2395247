"""``prune-gym fit-surrogate``: a fast stand-in for the real environment, fitted to records."""

import argparse
from importlib import metadata
from pathlib import Path
from typing import Any

from prune_gym.cli.settings import add_command

DESCRIPTION = """\
Fit a regressor to what `prune-gym record` wrote: the accuracy after a step, from what is kept of
the unpruned network and the fine-tuning so far. Prints Kendall's tau and the mean absolute error
on episodes and on policies that it had not seen, and draws predicted over real accuracy.

It goes into the cache folder (PRUNE_GYM_HOME), where PruneResNet20-Surrogate-v0 and
`prune-gym train ... --warm-start surrogate` find it. Needs: pip install 'prune-gym[surrogate]'.
"""
TITLES = {
    "held_out_episodes": "held-out episodes",
    "held_out_episodes_final": "  their final networks",
    "held_out_policies": "held-out policies",
}


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the command to the parser."""
    parser = add_command(
        commands, "fit-surrogate", "fit a surrogate environment to records", DESCRIPTION
    )
    parser.add_argument("records", type=Path, nargs="+", help="files of `prune-gym record`")
    parser.add_argument("--out", type=Path, help="a safetensors file in place of the cache's")
    parser.add_argument("--plot", type=Path, help="the picture (beside the surrogate by default)")
    parser.add_argument("--seed", type=int, default=0, help="of the folds and the regressor")
    parser.add_argument("--threads", type=int, help="of torch, in place of the records'")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Fit, measure, write, print."""
    from prune_gym.cli.settings import make_environment
    from prune_gym.errors import PruneGymError
    from prune_gym.files import sha256
    from prune_gym.runs.folder import versions
    from prune_gym.surrogate import predictor as model
    from prune_gym.surrogate import records
    from prune_gym.surrogate.fit import fit_surrogate

    out = arguments.out
    if out is not None and (out.suffix != ".safetensors" or out.is_dir()):
        raise PruneGymError(f"--out {str(out)!r} must be a file's name that ends in .safetensors")
    model.import_library()
    parts = [records.read(path) for path in arguments.records]
    joined = records.joined(parts, [str(path) for path in arguments.records])
    settings = dict(joined.header["env_arguments"])
    if arguments.threads is not None:
        settings["threads"] = arguments.threads
    env = make_environment(joined.header["id"], settings).unwrapped
    report = fit_surrogate(joined, env, arguments.seed)
    facts = report.surrogate.facts
    facts["records"]["sha256"] = [sha256(path) for path in arguments.records]
    facts["versions"] = versions() | {"scikit-learn": metadata.version("scikit-learn")}
    path = out or model.cache_folder() / model.file_name(facts["conditions"])
    picture = arguments.plot or path.with_suffix(".png")
    report.surrogate.save(path)
    plot(report, picture)
    print(table(facts["metrics"]))
    print(f"wrote {path}, {path.with_suffix('.json').name} and {picture}")
    return 0


def table(metrics: dict[str, Any]) -> str:
    """The metrics of :func:`prune_gym.surrogate.fit.measure` as lines of text."""
    lines = [f"{'':24}{'steps':>7}{'tau':>8}{'same space':>12}{'error':>9}{'(of the mean)':>15}"]
    for name, values in metrics.items():
        title = TITLES.get(name, "  without " + name.removeprefix("held_out_policy_"))
        lines.append(
            f"{title:24}{values['steps']:>7}{values['tau']:>8.3f}{values['tau_same_space']:>12.3f}"
            f"{100 * values['error']:>7.2f} p{100 * values['baseline_error']:>13.2f} p"
        )
    return "\n".join(lines)


def plot(report: Any, path: Path) -> None:
    """Predicted over real accuracy of held-out episodes, a colour a policy.

    Args:
        report: A :class:`prune_gym.surrogate.fit.Report`.
        path: The PNG file.
    """
    import numpy as np
    from matplotlib.figure import Figure

    from prune_gym.files import write_atomically

    rows, metrics = report.rows, report.surrogate.facts["metrics"]["held_out_episodes"]
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    behind = rows.position > 0
    for policy in np.unique(rows.policy):
        chosen = behind & (rows.policy == policy)
        axes.scatter(rows.accuracy[chosen], report.predicted[chosen], s=6, alpha=0.5, label=policy)
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
