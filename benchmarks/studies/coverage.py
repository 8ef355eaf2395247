"""What can be pruned of torchvision's models: ``python -m benchmarks.studies.coverage``.

The script derives the spaces of each classification model with random weights, and prints a
Markdown table: spaces, the share of output channels that can be pruned, the share of the MACs that
vanish with them, and the most frequent reasons for what stays whole. A model that cannot be derived
is a row with its error.
"""

import argparse
import gc
from collections import Counter

import torch
from torch import nn

from benchmarks import tables
from prune_gym.errors import PruneGymError
from prune_gym.pruning import Geometry, derive
from prune_gym.torchvision_import import models

SIZES = {"inception_v3": 96}
WHOLE = ("vit", "maxvit", "swin")
"""Models that take images of one size, 224 pixels."""
AUXILIARY = ("googlenet", "inception_v3")
REASONS = 2


def build(name: str) -> nn.Module:
    """A model with random weights, without heads for the training alone."""
    given = {"aux_logits": False, "init_weights": False} if name in AUXILIARY else {}
    module: nn.Module = models().get_model(name, weights=None, **given)
    return module


def row(name: str) -> list[str]:
    """The row of a model."""
    size = SIZES.get(name, 224 if name.startswith(WHOLE) else 64)
    module = build(name)
    try:
        found = derive(module, (3, size, size))
        geometry = Geometry(found.module, found.spaces, (3, size, size))
    except (PruneGymError, ValueError) as error:
        return [f"`{name}`", "", "", "", str(error)]
    total = sum(_outputs(layer) for layer in found.module.modules())
    fixed = Counter[str]()
    for layer in found.fixed:
        fixed[_kind(layer.reason)] += layer.channels
    least = geometry.macs({space.name: 1 for space in found.spaces})
    return [
        f"`{name}`",
        str(len(found.spaces)),
        f"{1 - fixed.total() / total:.1%}",
        f"{1 - least / geometry.macs():.1%}",
        "; ".join(f"{reason} ({count:,})" for reason, count in fixed.most_common(REASONS)),
    ]


def _outputs(layer: nn.Module) -> int:
    if isinstance(layer, nn.Linear):
        return layer.out_features
    return layer.out_channels if isinstance(layer, nn.Conv2d) else 0


def _kind(reason: str) -> str:
    """A reason without the name of the layer."""
    words = reason.partition(" in '")[0].split()
    return " ".join(word for word in words if not (word.startswith("'") and "." in word))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="names of models (default: all)")
    parser.add_argument("--threads", type=int, default=1, help="threads (default: 1)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = []
    for name in args.names or models().list_models(models()):
        rows.append(row(name))
        gc.collect()
    print(tables.markdown(["model", "spaces", "channels", "MACs", "stays whole"], rows))


if __name__ == "__main__":
    main()
