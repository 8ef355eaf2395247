"""The two players: each changes only its own weights; the defaults behave as documented."""

import pytest
import torch

from prune_gym import networks
from prune_gym.alf import ALFConv2d, ALFOptions, TwoPlayers, blocks, to_alf, two_player_train
from prune_gym.alf.training import AUTOENCODER
from prune_gym.data import shapes
from prune_gym.envs.config import EnvConfig
from prune_gym.networks.pretrained import SHIPPED
from prune_gym.training import TrainingOptions
from prune_gym.weights import load_weights, tensors_of
from tests.tiny import shake, tiny_dataset, tiny_residual

pytestmark = pytest.mark.float

UPDATES = 3


def module_and_players():
    network = tiny_residual()
    shake(network.module)
    module = to_alf(network, None, ALFOptions(pr_max=0.5, updates=UPDATES))
    players = TwoPlayers(module, TrainingOptions())
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    module(images).square().mean().backward()
    return module, players


def moved(module, turn):
    """Names of the tensors that a step changes."""
    before = {name: tensor.clone() for name, tensor in tensors_of(module).items()}
    turn()
    after = tensors_of(module)
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_each_player_moves_its_own():
    module, players = module_and_players()
    own = {f"{name}.{part}" for name in blocks(module) for part in AUTOENCODER}
    by_task = moved(module, lambda: players.task.step(0.1))
    assert by_task.isdisjoint(own)
    assert {"head.weight", "norm1.weight", "inner.weight", "inner.expansion.weight"} <= by_task
    by_autoencoders = moved(module, players.autoencoders)
    assert by_autoencoders <= own
    assert {f"{name}.mask" for name in blocks(module)} <= by_autoencoders


def test_a_turn_is_one_step_of_the_task_and_some_of_the_autoencoders():
    one, players = module_and_players()
    players.step(0.1)
    other, parts = module_and_players()
    parts.task.step(0.1)
    for block in blocks(other).values():
        for _ in range(UPDATES):
            block.autoencoder_step()
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert all(parameter.grad is None for parameter in one.parameters())


def test_training_takes_turns_behind_every_mini_batch(monkeypatch):
    network, dataset = tiny_residual(), tiny_dataset()
    module = to_alf(network, ["inner", "down"], ALFOptions(updates=UPDATES))
    seen, taken = [], []
    monkeypatch.setattr(ALFConv2d, "autoencoder_step", lambda block: taken.append(block))
    two_player_train(
        module,
        dataset.train,
        4,
        torch.Generator().manual_seed(0),
        TrainingOptions(batch_size=16),
        progress=lambda batch, loss: seen.append((batch, len(taken))),
    )
    assert seen == [(batch, 2 * UPDATES * batch) for batch in (1, 2, 3, 4)]
    assert not module.training


@pytest.mark.parametrize("layer", ["conv1", "layer1.1.conv1", "layer2.0.conv1", "layer3.2.conv2"])
def test_a_step_of_duration_1_clips_what_it_is_asked_for(layer):
    """As in ``docs/alf.md``: by default, sparsity 0.7 leaves at most 40 % of the codes."""
    network = networks.build("resnet20", 10, 32)
    load_weights(network.module, SHIPPED / "resnet20-shapes.safetensors")
    batches = EnvConfig().max_batches(shapes.SIZES[0])
    options = ALFOptions(pr_max=0.7)
    block = blocks(to_alf(network, [layer], options))[layer]
    for _ in range(options.updates * batches):
        block.autoencoder_step()
    assert 0.3 <= block.codes_alive / block.out_channels <= 0.4
    # The error is close to the minimum for this number of codes (Eckart and Young 1936).
    values = torch.linalg.svdvals(block.weight.detach().flatten(1)).square()
    floor = float(values[block.codes_alive :].sum() / values.sum())
    assert floor - 1e-6 <= block.reconstruction_error() < floor + 0.1
