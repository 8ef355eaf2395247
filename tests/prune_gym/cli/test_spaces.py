"""``prune-gym spaces`` shows what can be pruned, and what cannot and why."""

import json

import pytest

from prune_gym.cli import main
from prune_gym.networks import build


def test_spaces_of_a_built_in_network(capsys):
    assert main(["spaces", "resnet20"]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[0] == "resnet20, images of 3 x 32 x 32, 10 classes"
    assert "layer1.0.conv2 and 2 more" in out
    assert lines[-4].split() == ["channels", "layer", "reason"]
    assert lines[-3].split(maxsplit=2) == ["10", "linear", "the network's output"]
    assert lines[-1] == "can be pruned: 99.9% of the parameters, 99.8% of the MACs"
    assert main(["spaces", "resnet20", "--verbose"]) == 0
    assert "more" not in capsys.readouterr().out


def test_json_holds_every_member(capsys):
    command = ["spaces", "torchvision:resnet18", "--image-size", "64", "--num-classes", "3"]
    assert main([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["input_shape"], found["num_classes"]) == ([3, 64, 64], 3)
    network = build("torchvision:resnet18", 3, 64)
    for entry, space in zip(found["spaces"], network.spaces, strict=True):
        assert (entry["name"], entry["channels"]) == (space.name, space.channels)
        assert tuple(entry["consumers"]) == space.consumers
    assert found["fixed"] == [{"layer": "fc", "channels": 3, "reason": "the network's output"}]
    assert 0.9 < found["prunable"]["params"] < 1


def test_the_data_set_gives_size_and_classes(capsys):
    assert main(["spaces", "torchvision:mobilenet_v3_small", "--dataset", "shapes"]) == 0
    assert "images of 3 x 32 x 32, 10 classes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing"], "Unknown network 'nothing'"),
        (["torchvision:resnet19"], "Did you mean 'resnet18'"),
        (["tests.tiny:nothing"], "Unknown network 'tests.tiny:nothing'"),
        (["resnet20", "--image-size", "0"], "image_size=0 must be at least 1"),
    ],
)
def test_what_does_not_exist_is_named(words, message, capsys):
    assert main(["spaces", *words]) == 2
    assert message in capsys.readouterr().err
