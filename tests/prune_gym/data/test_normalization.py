"""Normalisation: the formula, its defaults, and what is refused."""

import json

import pytest
import torch

from prune_gym.data import IMAGENET, Normalization


def pixels(channels=3):
    generator = torch.Generator().manual_seed(9)
    return torch.randint(0, 256, (16, channels, 32, 32), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize(
    "normalization",
    [
        IMAGENET,
        Normalization((0.1307,), (0.3081,)),
        Normalization((-0.5, 0.0, 1.5, 0.25), (1.0, 0.1, 2.0, 0.5)),
    ],
)
def test_it_is_the_usual_formula(normalization):
    images = pixels(normalization.channels)
    result = normalization(images)
    mean, std = (
        torch.tensor(values).view(-1, 1, 1) for values in (normalization.mean, normalization.std)
    )
    torch.testing.assert_close(result, (images / 255 - mean) / std, rtol=1e-5, atol=1e-5)
    assert result.dtype == torch.float32
    assert result.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(images, pixels(normalization.channels)), "the argument was changed"


def test_floats_are_refused():
    with pytest.raises(TypeError, match="float32"):
        IMAGENET(pixels().float())


def test_defaults_are_imagenets():
    assert Normalization.default(3) is IMAGENET
    assert Normalization.default(1) == Normalization((0.449,), (0.226,))
    assert Normalization.default(4).channels == 4


def test_json_keeps_it():
    given = Normalization([0.1307, 1 / 3], (0.3081, 1))
    assert given.mean == (0.1307, 1 / 3)
    assert Normalization.from_json(json.loads(json.dumps(given.to_json()))) == given


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"mean": [0.5]}, "must have a mean and a std"),
        ({"mean": [0.5], "std": [0.5], "scale": 1}, "must have a mean and a std"),
        ([[0.5], [0.5]], "must have a mean and a std"),
        ({"mean": [0.5], "std": [0.5, 0.5]}, "mean has 1 values and std 2"),
        ({"mean": [0.5], "std": [0]}, r"std=\[0.0\] must be above 0"),
        ({"mean": [0.5], "std": [-1]}, "must be above 0"),
        ({"mean": 0.5, "std": 0.5}, "mean=0.5 must be a list"),
        ({"mean": "0.5", "std": [0.5]}, "mean='0.5' must be a list"),
        ({"mean": [], "std": []}, "must be a list, one value a channel"),
        ({"mean": [True], "std": [1]}, "mean=True must be a finite number"),
        ({"mean": [float("nan")], "std": [1]}, "mean=nan must be a finite number"),
    ],
)
def test_what_is_refused(value, message):
    with pytest.raises(ValueError, match=message) as caught:
        Normalization.from_json(value)
    assert "\n" not in str(caught.value)
