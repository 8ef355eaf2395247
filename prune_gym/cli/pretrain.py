"""``prune-gym pretrain``: make a baseline, or the from-scratch control of a pruned network."""

import argparse
import sys
from pathlib import Path
from typing import Any

from prune_gym.cli.settings import add_command

DESCRIPTION = """\
Train an unpruned network, the baseline that environments start from. It goes into the cache
folder (PRUNE_GYM_HOME), where environments find it, with its recipe and checksum beside it.

From given weights (the same names and shapes, safetensors): add --init FILE.
The from-scratch control of a pruned network: --shape RUN/best --out FILE trains a new network
with as many channels in each layer.
"""


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the command to the parser."""
    parser = add_command(commands, "pretrain", "train a baseline network", DESCRIPTION)
    parser.add_argument("--network", default="resnet20", help="see `prune-gym list networks`")
    parser.add_argument("--dataset", default="shapes", help="see `prune-gym list datasets`")
    parser.add_argument("--image-size", type=int, default=32, help="of an image folder")
    parser.add_argument("--init", type=Path, help="start from these weights, not from scratch")
    parser.add_argument("--shape", type=Path, help="take the channels of this pruned network")
    parser.add_argument("--epochs", type=float, default=20.0)
    parser.add_argument("--learning-rate", type=float, default=0.2, help="peak of the one cycle")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="of torch; all cores by default")
    parser.add_argument("--out", type=Path, help="a safetensors file in place of the cache's")
    parser.add_argument("--overwrite", action="store_true", help="replace the cache's baseline")
    parser.add_argument("--test", action="store_true", help="measure the test split at the end")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Train, write weights and recipe, print the accuracy."""
    import torch

    from prune_gym import networks
    from prune_gym.data import load_dataset
    from prune_gym.envs.baseline import checked_device, default_threads
    from prune_gym.errors import PruneGymError
    from prune_gym.files import sha256, write_json
    from prune_gym.networks import pretrained as baselines
    from prune_gym.pruning.saved import cut_to, load_network
    from prune_gym.runs.folder import machine, versions
    from prune_gym.training import TrainingOptions, split_accuracy
    from prune_gym.weights import load_weights, save_weights

    if arguments.shape is not None and (arguments.out is None or arguments.init is not None):
        raise PruneGymError("--shape needs --out, and starts from scratch (no --init)")
    _check(arguments)
    device = checked_device(arguments.device)
    threads = arguments.threads or default_threads()
    torch.set_num_threads(threads)
    dataset = load_dataset(arguments.dataset, image_size=arguments.image_size)
    name = baselines.stem(arguments.network, dataset.key) + ".safetensors"
    path = arguments.out or baselines.cache_folder() / name
    if arguments.out is None and path.exists() and not arguments.overwrite:
        raise PruneGymError(
            f"There is a baseline of {arguments.network} for these images: {path}. Runs that "
            "started from it could not go on with another. Use it, add --overwrite to replace it, "
            "or name another file (--out; environments take it as --weights)."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(arguments.seed)
        architecture = arguments.network
        if arguments.shape is not None:
            shape, kept = load_network(arguments.shape)
            architecture = shape.architecture
        network = networks.build(architecture, len(dataset.classes), arguments.image_size)
        if arguments.shape is not None:
            network = cut_to(network, kept)
    if arguments.init is not None:
        load_weights(network.module, arguments.init)
    module = network.module.to(device)
    options = TrainingOptions(
        batch_size=arguments.batch_size,
        learning_rate=arguments.learning_rate,
        schedule="one_cycle",
    )
    batches = max(1, round(arguments.epochs * len(dataset.train.labels) / options.batch_size))
    _train(module, dataset, batches, options, arguments)
    if not all(bool(torch.isfinite(p).all()) for p in module.state_dict().values()):
        raise PruneGymError(
            "The training diverged (NaN or infinity in the weights); nothing was written. "
            f"Take a smaller --learning-rate than {arguments.learning_rate}."
        )
    recipe: dict[str, Any] = {
        "architecture": architecture,
        "dataset": dataset.name if dataset.name == "shapes" else dataset.key,
        "dataset_fingerprint": dataset.fingerprint,
        "options": vars(options) | {"epochs": arguments.epochs, "seed": arguments.seed},
        "threads": threads,
        "init_sha256": sha256(arguments.init) if arguments.init else None,
        "validation_accuracy": split_accuracy(module, dataset.validation, device),
        "versions": versions(),
        "machine": machine(str(device)),
    }
    if arguments.test:
        recipe["test_accuracy"] = split_accuracy(module, dataset.test, device)
    save_weights(module, path)
    write_json(path.with_suffix(".json"), {**recipe, "sha256": sha256(path)})
    print(f"validation accuracy {recipe['validation_accuracy']:.4f}")
    if arguments.test:
        print(f"test accuracy {recipe['test_accuracy']:.4f}")
    print(f"wrote {path}")
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Refuse what could only fail, or spoil something, after the training."""
    from prune_gym.errors import PruneGymError

    for name, value, least, most in (
        ("--epochs", arguments.epochs, 0, 10_000),
        ("--learning-rate", arguments.learning_rate, 0, 1e9),
        ("--batch-size", arguments.batch_size, 1, 1_000_000),
        ("--threads", arguments.threads or 1, 0, 1024),
    ):
        if not least < value <= most:
            raise PruneGymError(f"{name} {value} must be above {least}, at most {most:,}")
    out = arguments.out
    if out is not None and (out.suffix != ".safetensors" or out.is_dir()):
        raise PruneGymError(f"--out {str(out)!r} must be a file's name that ends in .safetensors")


def _train(
    module: Any, dataset: Any, batches: int, options: Any, arguments: argparse.Namespace
) -> None:
    import torch
    from tqdm import tqdm

    from prune_gym.training import train

    with tqdm(total=batches, unit="batch", file=sys.stderr, disable=arguments.quiet) as bar:

        def progress(batch: int, loss: float) -> None:
            bar.update(1)
            bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)

        generator = torch.Generator().manual_seed(arguments.seed)
        train(module, dataset.train, batches, generator, options, progress=progress)
