"""Compression of a whole network by one call."""

import numpy as np
import pytest
import torch

from prune_gym.alf import CompressOptions, compress
from prune_gym.data import IMAGENET
from prune_gym.envs import PruningEnv, Spent
from prune_gym.pruning import check_spaces

SHORT = CompressOptions(epochs=0.5, first_updates=100, pr_max=0.7)
LAYERS = ("inner", "outer", "down")


@pytest.fixture
def images(residual_trained):
    _, dataset = residual_trained
    return IMAGENET(dataset.train.images[:64])


@pytest.mark.float
def test_a_network_becomes_smaller_and_stays_usable(residual_trained, images):
    network, dataset = residual_trained
    before = {name: values.clone() for name, values in network.module.state_dict().items()}
    progress = []
    finished = compress(
        network, dataset.train, images, options=SHORT, progress=lambda *done: progress.append(done)
    )
    assert set(finished.masks) == set(finished.blocks) == {f"{name}.code" for name in LAYERS}
    for name, block in finished.blocks.items():
        assert block.codes == finished.masks[name].sum()
        assert 0 < block.codes <= 0.5 * finished.masks[name].size
        assert block.sparsity == 0.7
        assert 0 < block.reconstruction_error < 1
        assert block.updates >= 100
    check_spaces(finished.module, finished.spaces)
    channels = {space.name: space.channels for space in finished.spaces}
    for name, block in finished.blocks.items():
        assert channels.get(name) == (None if block.merged else block.codes)
    with torch.no_grad():
        logits = finished.module(images)
    assert logits.shape == (64, 4)
    assert torch.isfinite(logits).all()
    assert not finished.module.training
    count = sum(values.numel() for values in finished.module.parameters())
    assert count < sum(values.numel() for values in network.module.parameters())
    # The given network does not change, and the progress is that of the two phases.
    assert all(torch.equal(before[n], v) for n, v in network.module.state_dict().items())
    assert [share for share, _ in progress[:3]] == pytest.approx([1 / 3, 2 / 3, 1])
    assert all("codes" in text for _, text in progress)


@pytest.mark.float
def test_the_seed_determines_the_result(residual_trained, images):
    network, dataset = residual_trained
    one, two, other = (
        compress(network, dataset.train, images, ["inner"], SHORT, seed) for seed in (1, 1, 2)
    )
    weights = one.module.state_dict()
    assert all(torch.equal(weights[n], v) for n, v in two.module.state_dict().items())
    assert any(not torch.equal(weights[n], v) for n, v in other.module.state_dict().items())
    assert set(one.blocks) == {"inner.code"}


@pytest.mark.float
def test_the_environment_accepts_the_result(residual_trained):
    network, dataset = residual_trained
    env = PruningEnv(
        network, dataset, action_mode="alf", eval_images=64, repair_images=64, threads=1
    )
    env.reset(seed=0)
    finished = compress(network, dataset.train, env.baseline.repair_images, options=SHORT)
    infos = env.accept(finished, Spent(batches=4, macs=10**6))
    for space, info in zip(env.visited, infos, strict=True):
        block = finished.blocks[space.name]
        assert (info["codes"], info["merged"]) == (block.codes, block.merged)
        assert np.array_equal(info["mask"][: space.channels], finished.masks[space.name])
    assert infos[-1]["params"] == sum(p.numel() for p in finished.module.parameters())
    with torch.no_grad():
        classes = finished.module(env.baseline.eval_images[:]).argmax(1)
    correct = (classes == env.baseline.eval_labels).float().mean()
    assert infos[-1]["accuracy"] == pytest.approx(float(correct))
