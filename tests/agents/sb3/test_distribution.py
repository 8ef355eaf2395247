"""The joint log-probability is exact: integrals, differences, padding, bounds."""

import itertools

import numpy as np
import pytest
import torch

pytest.importorskip("stable_baselines3")

from agents.sb3.distribution import BOUND, HybridDistribution
from agents.sb3.policy import HybridPolicy
from agents.toy import ToyPruning
from prune_gym.wrappers import FlatBoxAction

pytestmark = pytest.mark.float

LOGITS = torch.tensor([[0.3, -1.2, 2.0, 5.0]], dtype=torch.float64)
VALID = torch.tensor([[True, True, True, False]])


def distribution(logits=LOGITS, concentrations=(1.7, 3.1), valid=VALID):
    both = torch.as_tensor(concentrations, dtype=torch.float64).expand(len(logits), 2)
    return HybridDistribution().proba_distribution(logits, both, valid)


@pytest.mark.parametrize("concentrations", [(1.7, 3.1), (1.0001, 1.0001), (1.2, 10.8), (40.0, 9.0)])
def test_probabilities_of_all_actions_sum_to_one(concentrations):
    """Gauss-Legendre quadrature over the last entry, for all masks of the three filters."""
    nodes, weights = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(1000))
    total = entropy = 0.0
    for bits in itertools.product([-1.0, 1.0], repeat=3):
        scores = torch.tensor([*bits, -1.0], dtype=torch.float64).expand(len(nodes), 4)
        many = distribution(
            LOGITS.expand(len(nodes), 4), concentrations, VALID.expand(len(nodes), 4)
        )
        log_prob = many.log_prob(torch.cat([scores, nodes[:, None]], dim=1))
        total += float((weights * log_prob.exp()).sum())
        entropy -= float((weights * log_prob.exp() * log_prob).sum())
    made = distribution(concentrations=concentrations)
    assert total == pytest.approx(1, abs=1e-5)
    assert made.entropy().item() == pytest.approx(entropy, abs=1e-4)


def test_against_torchs_own_distributions():
    made = distribution()
    actions = made.sample()
    bits = torch.distributions.Bernoulli(logits=LOGITS[:, :3])
    beta = torch.distributions.Beta(*torch.tensor([[1.7], [3.1]], dtype=torch.float64))
    box = torch.distributions.TransformedDistribution(
        beta, torch.distributions.AffineTransform(-1.0, 2.0)
    )
    wanted = bits.log_prob((actions[:, :3] > 0).double()).sum(1) + box.log_prob(actions[:, 4])
    assert made.log_prob(actions).item() == pytest.approx(wanted.item(), rel=1e-10)


def test_gradients_against_finite_differences():
    logits, both = LOGITS.clone(), torch.tensor([[1.7, 3.1]], dtype=torch.float64)
    logits.requires_grad_(True)
    both.requires_grad_(True)
    actions = distribution().sample()

    def log_prob(logits, both):
        return HybridDistribution().proba_distribution(logits, both, VALID).log_prob(actions)

    def entropy(logits, both):
        return HybridDistribution().proba_distribution(logits, both, VALID).entropy()

    assert torch.autograd.gradcheck(log_prob, (logits, both))
    assert torch.autograd.gradcheck(entropy, (logits, both))


def test_padding_changes_nothing():
    actions = distribution().sample()
    flipped = actions.clone()
    flipped[:, 3] = 1.0
    other = distribution(logits=torch.cat([LOGITS[:, :3], -LOGITS[:, 3:]], dim=1))
    assert distribution().log_prob(actions) == distribution().log_prob(flipped)
    assert distribution().log_prob(actions) == other.log_prob(flipped)
    assert distribution().entropy() == other.entropy()
    narrow = HybridDistribution().proba_distribution(
        LOGITS[:, :3], torch.tensor([[1.7, 3.1]], dtype=torch.float64), VALID[:, :3]
    )
    assert narrow.log_prob(actions[:, [0, 1, 2, 4]]) == distribution().log_prob(actions)


@pytest.mark.parametrize("last", [-1.0, 1.0, -1.0 + BOUND, 1.0 - BOUND])
@pytest.mark.parametrize("logit", [-200.0, 0.0, 200.0])
def test_finite_at_the_bounds(last, logit):
    logits = torch.full((1, 4), logit, requires_grad=True)
    both = torch.tensor([[1.0 + 1e-6, 30.0]], requires_grad=True)
    made = HybridDistribution().proba_distribution(logits, both, VALID)
    actions = torch.tensor([[1.0, -1.0, 1.0, -1.0, last]])
    value = made.log_prob(actions) + made.entropy()
    value.sum().backward()
    for tensor in (value, logits.grad, both.grad):
        assert torch.isfinite(tensor).all()


def test_samples_follow_the_distribution_and_lie_in_the_box():
    torch.manual_seed(0)
    many = distribution(
        logits=LOGITS.expand(20_000, 4), concentrations=(1.7, 3.1), valid=VALID.expand(20_000, 4)
    )
    actions = many.sample()
    assert (actions.abs() <= 1).all()
    assert (actions[:, 3] == -1).all()
    keep = (actions[:, :3] > 0).double().mean(0)
    assert keep.numpy() == pytest.approx(torch.sigmoid(LOGITS[0, :3]).numpy(), abs=0.02)
    duration = (actions[:, 4] + 1) / 2
    assert duration.mean().item() == pytest.approx(1.7 / 4.8, abs=0.01)
    mode = distribution().mode()
    assert mode[0, :4].tolist() == [1, -1, 1, -1]
    assert (mode[0, 4].item() + 1) / 2 == pytest.approx(1.7 / 4.8)


def make_policy(**arguments):
    env = FlatBoxAction(ToyPruning())
    torch.manual_seed(0)
    return env, HybridPolicy(env.observation_space, env.action_space, lambda _: 1e-3, **arguments)


def test_the_untrained_policy_follows_its_arguments():
    env, policy = make_policy(initial_keep=0.7, initial_duration=0.25, norm_prior=0.0)
    observation, _ = env.reset(seed=0)
    made = policy.get_distribution(policy.obs_to_tensor(observation)[0])
    assert torch.sigmoid(made.logits).detach().numpy() == pytest.approx(0.7, abs=1e-5)
    assert made.beta.mean.item() == pytest.approx(0.25, abs=1e-4)


def test_what_the_policy_does_stays_what_it_was_when_evaluated():
    """PPO's ratio is 1 before the first update only if clipping and storing change nothing."""
    env, policy = make_policy()
    env.reset(seed=0)
    env.unwrapped.position = 2
    tensor, _ = policy.obs_to_tensor(env.unwrapped._next())
    actions, _, log_prob = policy(tensor)
    stored = torch.from_numpy(actions.detach().numpy().clip(-1, 1))
    _, again, entropy = policy.evaluate_actions(tensor, stored)
    assert torch.equal(again, log_prob)
    assert torch.isfinite(entropy).all()
    flipped = stored.clone()
    flipped[:, 6:8] = 1  # padding
    assert torch.equal(policy.evaluate_actions(tensor, flipped)[1], log_prob)


def test_padding_does_not_reach_the_networks():
    env, policy = make_policy()
    for last in (policy.action_net.keep[-1], policy.action_net.duration[-1]):
        torch.nn.init.normal_(last.weight)
    env.reset(seed=0)
    env.unwrapped.position = 2
    observation = env.unwrapped._next()
    noisy = {**observation, "bn_scale": observation["bn_scale"].copy()}
    noisy["bn_scale"][6:] = 9
    one, two = (policy.obs_to_tensor(o)[0] for o in (observation, noisy))
    first, second = policy.get_distribution(one), policy.get_distribution(two)
    assert torch.equal(first.logits[:, :6], second.logits[:, :6])
    assert torch.equal(first.beta.mean, second.beta.mean)
    assert torch.equal(policy.predict_values(one), policy.predict_values(two))


@pytest.mark.parametrize(
    "arguments", [{"initial_keep": 1.0}, {"initial_duration": 0.0}, {"hidden": 0}]
)
def test_bad_arguments(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        make_policy(**arguments)


def test_bad_spaces():
    env = ToyPruning()
    with pytest.raises(ValueError, match="Box of FlatBoxAction"):
        HybridPolicy(env.observation_space, env.action_space, lambda _: 1e-3)
