"""Networks by reference: functions, torchvision's models, saved folders, module objects."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import nn

from prune_gym import networks
from prune_gym.envs import PruningEnv
from prune_gym.errors import PruneGymError
from prune_gym.networks import Network
from prune_gym.pruning import ChannelSpace
from prune_gym.pruning.saved import load_network, save_network
from prune_gym.runs import RunConfig
from tests.prune_gym.pruning.patterns import around, patterns
from tests.tiny import tiny_dataset

HERE = "tests.prune_gym.networks.test_references"
DATA = tiny_dataset(size=16, train=64)
FEW = {"dataset": DATA, "eval_images": 32, "repair_images": 32, "threads": 1}


def no_arguments():
    """A module for 4 classes."""
    return around(nn.BatchNorm2d(16))


def by_name(num_classes=7):
    """A module for a number of classes."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, num_classes),
    )


def builder(classes, size):
    """A network with a space written by hand; the arguments have names of their own."""
    space = ChannelSpace("mine", 6, ("0",), ("4",))
    return Network(f"{HERE}:builder", by_name(classes), (space,), (3, size, size), classes)


def wrong(classes, size):
    """A network whose batch norm is not declared."""
    module = nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.BatchNorm2d(6),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 4),
    )
    space = ChannelSpace("mine", 6, ("0",), ("4",))
    return Network(f"{HERE}:wrong", module, (space,), (3, size, size), classes)


class TwoOutputs(nn.Sequential):
    """A network with a second output in training."""

    def forward(self, x):
        """Map images to logits."""
        return (super().forward(x), x) if self.training else super().forward(x)


def two_outputs():
    """A network that must be told to leave out an output."""
    return TwoOutputs(*by_name())


def nothing():
    """Not a network."""
    return 3


@pytest.mark.filterwarnings("ignore:.*the weights that its function returns")
@pytest.mark.parametrize(
    ("name", "spaces"), [("no_arguments", ["a", "b"]), ("by_name", ["0"]), ("builder", ["mine"])]
)
def test_a_function_may_return_a_module_or_a_network(name, spaces):
    env = gym.make("prune_gym:Prune-v0", network=f"{HERE}:{name}", **FEW).unwrapped
    assert [space.name for space in env.baseline.network.spaces] == spaces
    assert env.baseline.network.architecture == f"{HERE}:{name}"
    env.reset(seed=0)
    mask = np.arange(env.width) % 2
    *_, info = env.step({"mask": mask.astype(np.int8), "duration": np.zeros(1, np.float32)})
    assert info["params"] < env.baseline.geometry.params()


def test_a_module_object_is_copied():
    module = no_arguments()
    env = gym.make("prune_gym:Prune-v0", network=module, **FEW).unwrapped
    assert env.baseline.module is not module
    assert env.baseline.network.architecture == "a module of class Net"
    assert module.training


def test_a_module_object_is_no_network_of_a_run(tmp_path):
    with pytest.raises(PruneGymError, match="are given by name"):
        RunConfig("Prune-v0", out=tmp_path / "run", env_arguments={"network": no_arguments()})


def test_random_weights_of_a_model_are_the_same_each_time():
    settings = {"network": "torchvision:mobilenet_v3_small", **FEW}
    with pytest.warns(UserWarning, match=r"random weights: give"):
        first = PruningEnv(**settings)
    torch.manual_seed(5)
    with pytest.warns(UserWarning, match="random weights"):
        assert PruningEnv(**settings).baseline.weights_hash == first.baseline.weights_hash
    assert first.baseline.network.num_classes == 4


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (f"{HERE}:nothing", "returned a int; it must return a torch.nn.Module"),
        (f"{HERE}:missing", "Unknown network"),
        ("torchvision:resnet19", "Did you mean 'resnet18'"),
        ("torchvision:squeezenet1_1", r"fails for images of shape \(3, 16, 16\)"),
        (f"{HERE}:two_outputs", "returns a tuple in training mode"),
        (f"{HERE}:wrong", "space 'mine' does not describe the network"),
    ],
)
def test_wrong_references_are_refused(reference, message):
    with pytest.raises(PruneGymError, match=message):
        PruningEnv(network=reference, **FEW)


def test_an_undeclared_layer_is_refused_at_construction():
    with pytest.raises(ValueError, match="space 'mine' does not describe the network"):
        PruningEnv(wrong(4, 16), **FEW)


def test_a_network_without_prunable_channels_says_why():
    with pytest.raises(PruneGymError, match=r"no channels can be pruned \(1: the network's output"):
        networks.of_module(nn.Sequential(nn.Flatten(), nn.Linear(768, 4)), 4, (3, 16, 16))


@pytest.mark.filterwarnings("ignore:.*the weights that its function returns")
@pytest.mark.parametrize("name", ["between: shuffle", "concatenation", "split", "padded shortcut"])
def test_a_saved_folder_is_a_network(tmp_path, name):
    """It can be pruned again, and what is saved then can be loaded."""
    module = patterns()[name][0]
    globals()["pattern"] = lambda: module
    env = PruningEnv(network=f"{HERE}:pattern", scope="all", **FEW)
    kept = halve(env)
    save_network(tmp_path / "first", env.network, kept)
    again = PruningEnv(network=str(tmp_path / "first"), scope="all", **FEW)
    images = env.baseline.eval_images[:4]
    with torch.no_grad():
        expected = env.network.module(images)
        assert torch.allclose(again.baseline.module(images), expected, atol=1e-6)
    kept = halve(again)
    save_network(tmp_path / "second", again.network, kept)
    loaded, _ = load_network(tmp_path / "second")
    with torch.no_grad():
        found = loaded.module.eval()(images)
        assert torch.allclose(found, again.network.module(images), atol=1e-6)


def halve(env):
    """Play an episode that keeps about half of each space; return the kept channels."""
    env.reset(seed=0)
    for space in env.visited:
        mask = np.zeros(env.width, np.int8)
        mask[: space.channels : 2] = 1
        env.step({"mask": mask, "duration": np.zeros(1, np.float32)})
    return env.kept


@pytest.mark.filterwarnings("ignore:.*random weights")
@pytest.mark.slow
def test_a_run_of_a_reference_is_evaluated_exported_and_loaded(tmp_path, monkeypatch):
    """From the command line, with a torchvision model."""
    from prune_gym.cli import main

    monkeypatch.setenv("PRUNE_GYM_HOME", str(tmp_path / "home"))
    out = str(tmp_path / "run")
    words = ["train", "--network", "torchvision:mobilenet_v2", "--dataset", "shapes", "--out", out]
    words += ["--agent", "l1", "--episodes", "1", "--final-epochs", "0.01", "--threads", "1"]
    words += ["--env", "eval_images=32", "--env", "repair_images=32", "--set", "duration=0"]
    assert main([*words, "--quiet"]) == 0
    assert main(["evaluate", out]) == 0
    network, _ = load_network(tmp_path / "run" / "best")
    assert network.architecture == "torchvision:mobilenet_v2"
    assert (tmp_path / "run" / "best" / "model.onnx").is_file()
