"""``prune-gym fit-surrogate``: fit a fast substitute of the real environment to records."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prune_gym.cli.settings import Commands, add_command

DESCRIPTION = """\
Fit a regressor to what `prune-gym record` wrote: it predicts the accuracy after a step from the
kept filters and the fine-tuning of the episode. Prints Kendall's tau and the mean absolute error
on episodes and on policies that it had not seen, and draws predicted over real accuracy.

The surrogate is written to the cache folder (PRUNE_GYM_HOME), where PruneResNet20-Surrogate-v0 and
`prune-gym train ... --warm-start surrogate` find it. Needs:
pip install '.[surrogate]' -c constraints.txt
"""
TITLES = {
    "held_out_episodes": "held-out episodes",
    "held_out_episodes_final": "  their final networks",
    "held_out_policies": "held-out policies",
}


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """Add the command to the parser."""
    parser = add_command(
        commands, "fit-surrogate", "fit a surrogate environment to records", DESCRIPTION
    )
    parser.add_argument("records", type=Path, nargs="+", help="files of `prune-gym record`")
    parser.add_argument("--out", type=Path, help="safetensors file; by default in the cache folder")
    parser.add_argument("--plot", type=Path, help="the picture; by default beside the surrogate")
    parser.add_argument("--seed", type=int, default=0, help="seed of folds and regressor")
    parser.add_argument("--threads", type=int, help="torch threads; by default the records'")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Fit, and print the metrics."""
    from prune_gym.surrogate.fit_files import fit_files

    fitted, path, picture = fit_files(
        arguments.records, arguments.out, arguments.plot, arguments.seed, arguments.threads
    )
    print(_table(fitted.surrogate.facts["metrics"]))
    print(f"wrote {path}, {path.with_suffix('.json').name} and {picture}")
    return 0


def _table(metrics: Mapping[str, Any]) -> str:
    lines = [f"{'':24}{'steps':>7}{'tau':>8}{'same space':>12}{'error':>9}{'(of the mean)':>15}"]
    for name, values in metrics.items():
        title = TITLES.get(name, "  without " + name.removeprefix("held_out_policy_"))
        lines.append(
            f"{title:24}{values['steps']:>7}{values['tau']:>8.3f}{values['tau_same_space']:>12.3f}"
            f"{100 * values['error']:>7.2f} p{100 * values['baseline_error']:>13.2f} p"
        )
    return "\n".join(lines)
