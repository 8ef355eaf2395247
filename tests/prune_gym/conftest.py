"""A home folder with a tiny image data set and a baseline made by the command itself."""

import pytest
from PIL import Image

from prune_gym.cli import main
from prune_gym.runs import RunConfig
from tests.tiny import tiny_dataset

NETWORK = "tests.tiny:tiny_network"
SETTINGS = {
    "network": NETWORK,
    "image_size": 8,
    "eval_images": 32,
    "repair_images": 32,
    "batch_size": 32,
    "max_epochs": 0.5,
}
"""Arguments of an environment in which an episode takes less than a second."""


def write_images(folder, dataset):
    for name, split in (("train", dataset.train), ("test", dataset.test)):
        for index, (image, label) in enumerate(zip(split.images, split.labels, strict=True)):
            path = folder / name / dataset.classes[int(label)] / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)


@pytest.fixture(scope="session")
def workplace(tmp_path_factory):
    """Folder with ``images`` and the baseline's ``home``; set PRUNE_GYM_HOME to the latter."""
    folder = tmp_path_factory.mktemp("cli")
    write_images(folder / "images", tiny_dataset(train=320))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRUNE_GYM_HOME", str(folder / "home"))
        command = ["pretrain", "--network", NETWORK, "--dataset", f"imagefolder:{folder}/images"]
        command += ["--image-size", "8", "--epochs", "6", "--learning-rate", "0.05"]
        command += ["--batch-size", "32", "--threads", "1", "--quiet", "--test"]
        assert main(command) == 0
    return folder


def train_command(workplace, out, *more):
    """A training run of a second or two, as words of the command line."""
    words = ["train", "PruneResNet20-v0", "--dataset", f"imagefolder:{workplace}/images"]
    words += ["--out", str(out), "--threads", "1", "--final-epochs", "1"]
    words += ["--episodes", "2", "--set", "candidates=2", "--set", "updates=1"]
    for name, value in SETTINGS.items():
        words += ["--env", f"{name}={value}"]
    return [*words, *more]


def run_config(workplace, out, **more):
    """The same as a configuration."""
    arguments = {**SETTINGS, "dataset": f"imagefolder:{workplace}/images", "threads": 1}
    given = {"episodes": 2, "final_epochs": 1.0, "env_arguments": arguments}
    given |= {"agent_options": {"candidates": 2, "updates": 1}} | more
    return RunConfig("PruneResNet20-v0", out=out, **given)


@pytest.fixture
def train_arguments(workplace, monkeypatch):
    """Makes the arguments of a training run of a second or two."""
    monkeypatch.setenv("PRUNE_GYM_HOME", str(workplace / "home"))
    return lambda out, *more: train_command(workplace, out, "--quiet", *more)
