"""Training: the optimiser equals torch's, and all randomness comes from the generator."""

import copy

import pytest
import torch
from torch import nn

from prune_gym.training import Sgd, TrainingOptions, accuracy, split_accuracy, train
from tests.tiny import tiny_dataset, tiny_network

pytestmark = pytest.mark.float


def test_sgd_equals_torchs_optimizer_to_the_bit():
    torch.manual_seed(0)
    ours, theirs = nn.Linear(5, 3), nn.Linear(5, 3)
    theirs.load_state_dict(ours.state_dict())
    options = TrainingOptions(momentum=0.9, weight_decay=5e-4)
    mine = Sgd(list(ours.parameters()), options)
    reference = torch.optim.SGD(
        [{"params": [theirs.weight], "weight_decay": 5e-4}, {"params": [theirs.bias]}],
        lr=0.1,
        momentum=0.9,
        nesterov=True,
    )
    x = torch.randn(7, 5)
    for rate in (0.1, 0.05, 0.2):
        ours(x).pow(2).sum().backward()
        mine.step(rate)
        for group in reference.param_groups:
            group["lr"] = rate
        reference.zero_grad()
        theirs(x).pow(2).sum().backward()
        reference.step()
    assert torch.equal(ours.weight, theirs.weight)
    assert torch.equal(ours.bias, theirs.bias)


def test_dropout_too_follows_the_generator_alone():
    dataset = tiny_dataset()
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(192, 4))
    results = []
    for noise in (1, 2):
        module = copy.deepcopy(network)
        torch.manual_seed(noise)
        before = torch.get_rng_state()
        train(module, dataset.train, 5, torch.Generator().manual_seed(3), TrainingOptions())
        assert torch.equal(before, torch.get_rng_state())
        results.append(module[2].weight)
    assert torch.equal(*results)


def test_training_learns_and_zero_batches_change_nothing(tiny_trained):
    network, dataset = tiny_trained
    assert split_accuracy(network.module, dataset.test) > 0.8
    fresh = tiny_network().module
    before = copy.deepcopy(fresh.state_dict())
    train(fresh, dataset.train, 0, torch.Generator(), TrainingOptions())
    assert not fresh.training
    assert all(torch.equal(before[name], value) for name, value in fresh.state_dict().items())


def test_distillation_needs_a_teacher_and_follows_it(tiny_trained):
    network, dataset = tiny_trained
    options = TrainingOptions(distillation=1.0, learning_rate=0.05, schedule="one_cycle")
    with pytest.raises(ValueError, match="teacher"):
        train(tiny_network().module, dataset.train, 1, torch.Generator(), options)
    wrong = dataset.train.__class__(dataset.train.images, torch.zeros_like(dataset.train.labels))
    torch.manual_seed(0)
    student = tiny_network().module
    generator = torch.Generator().manual_seed(0)
    train(student, wrong, 60, generator, options, teacher=network.module)
    # The labels are random, so the student can only learn from the teacher.
    assert split_accuracy(student, dataset.test) > 0.5


def test_unknown_schedules_are_refused():
    options = TrainingOptions(schedule="cosine")
    with pytest.raises(ValueError, match="cosine"):
        train(tiny_network().module, tiny_dataset().train, 1, torch.Generator(), options)


def test_accuracy_counts():
    module = nn.Sequential(nn.Flatten(), nn.Linear(3, 2, bias=False))
    with torch.no_grad():
        module[1].weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1, 0]]))
    images = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 1, 0]]).reshape(3, 3, 1, 1)
    assert accuracy(module, images, torch.tensor([0, 1, 0])) == pytest.approx(2 / 3)
