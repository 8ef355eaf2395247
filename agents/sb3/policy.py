"""A policy for Stable-Baselines3's PPO and A2C: bits for the filters, and a duration.

In this order: from observation to features, from features to codes, from codes to the action's
distribution, and the policy that joins them.
"""

from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import MultiInputActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.type_aliases import Schedule
from torch import Tensor, nn
from torch.nn import functional

from agents.sb3.distribution import HybridDistribution

EPSILON = 1e-6


class FilterFeatures(BaseFeaturesExtractor):
    """Converts the ``Dict`` observation to one vector; it has no weights.

    The vector holds the action mask (n_max), each filter's norm in standard deviations (n_max), a
    row for each filter (n_max x row), and the layer's features.

    Args:
        observation_space: Observation space of the environment. Entries whose length is a multiple
            of n_max describe the filters.

    Raises:
        ValueError: The space has no ``action_mask`` of one dimension.
    """

    def __init__(self, observation_space: spaces.Dict) -> None:
        sizes = {key: entry.shape for key, entry in observation_space.spaces.items()}
        mask = sizes.get("action_mask")
        if mask is None or len(mask) != 1:
            raise ValueError(f"the policy needs an action_mask of one entry a filter, not {sizes}")
        self.width = width = mask[0]
        counts = {key: int(torch.Size(shape or ()).numel()) for key, shape in sizes.items()}
        layer = ("layer", "progress")
        rows = [key for key, n in counts.items() if key not in layer and n % width == 0]
        self.rows = [key for key in rows if key != "action_mask"]
        self.rest = [key for key in counts if key not in rows]
        self.row = sum(counts[key] // width for key in self.rows)
        self.layer = sum(counts[key] for key in self.rest)
        super().__init__(observation_space, 2 * width + width * self.row + self.layer)

    def forward(self, observations: dict[str, Tensor]) -> Tensor:
        """Return the vectors, shape (batch, features)."""
        mask = observations["action_mask"].float()
        shape = (len(mask), self.width, -1)
        rows = torch.cat([observations[key].float().reshape(shape) for key in self.rows], dim=2)
        norms = observations["l2"] if "l2" in observations else rows.norm(dim=2)
        norms = _standardised(norms.float(), mask)
        rest = [observations[key].float().flatten(1) for key in self.rest]
        return torch.cat([mask, norms, rows.flatten(1), *rest], dim=1)


class FilterCodes(nn.Module):
    """Encodes filters and layer, separately for policy and value.

    The same small network is applied to every filter's row with its layer's features; the mean over
    the filters is the layer's summary. So padding changes nothing.
    """

    def __init__(self, features: FilterFeatures, hidden: int) -> None:
        super().__init__()
        self.width, self.row, self.layer = features.width, features.row, features.layer
        size = self.row + self.layer
        self.policy = nn.Sequential(nn.Linear(size, hidden), nn.ReLU())
        self.value = nn.Sequential(nn.Linear(size, hidden), nn.ReLU())
        self.latent_dim_pi = 2 * self.width + (self.width + 1) * hidden
        self.latent_dim_vf = hidden

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return the latents of policy and value."""
        return self.forward_actor(features), self.forward_critic(features)

    def forward_actor(self, features: Tensor) -> Tensor:
        """Return mask, norms, codes and summary, shape (batch, latent_dim_pi)."""
        codes = self.policy(self._inputs(features))
        summary = self._mean(codes, features)
        return torch.cat([features[:, : 2 * self.width], codes.flatten(1), summary], dim=1)

    def forward_critic(self, features: Tensor) -> Tensor:
        """Return the layer's summary, shape (batch, hidden)."""
        return self._mean(self.value(self._inputs(features)), features)

    def _inputs(self, features: Tensor) -> Tensor:
        start = 2 * self.width
        rows, layer = features[:, start:].split([self.width * self.row, self.layer], dim=1)
        rows = rows.unflatten(1, (self.width, self.row))
        return torch.cat([rows, layer[:, None].expand(-1, self.width, -1)], dim=2)

    def _mean(self, codes: Tensor, features: Tensor) -> Tensor:
        mask = features[:, : self.width, None]
        return (codes * mask).sum(1) / mask.sum(1).clamp_min(1)


class HybridHead(nn.Module):
    """Computes the parameters of the action's distribution; arguments of :class:`HybridPolicy`."""

    def __init__(
        self,
        width: int,
        hidden: int,
        initial_keep: float,
        initial_duration: float,
        norm_prior: float,
    ) -> None:
        super().__init__()
        self.width, self.hidden = width, hidden
        keep, duration = nn.Linear(hidden, 1), nn.Linear(hidden, 2)
        # With zero weights, the untrained policy acts as the arguments say in every layer.
        for last in (keep, duration):
            nn.init.zeros_(last.weight)
        shorter = min(initial_duration, 1 - initial_duration)
        both = torch.tensor([initial_duration, 1 - initial_duration]) / shorter * 1.2
        with torch.no_grad():
            keep.bias.copy_(torch.logit(torch.tensor([initial_keep])))
            duration.bias.copy_(torch.log(torch.expm1(both - 1)))
        self.keep = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.ReLU(), keep)
        self.duration = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), duration)
        self.prior = nn.Parameter(torch.tensor(float(norm_prior)))

    def forward(self, latent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the arguments of :meth:`HybridDistribution.proba_distribution`."""
        sizes = [self.width, self.width, self.width * self.hidden, self.hidden]
        mask, norms, flat, summary = latent.split(sizes, dim=1)
        codes = flat.unflatten(1, (self.width, self.hidden))
        both = torch.cat([codes, summary[:, None].expand_as(codes)], dim=2)
        logits = self.keep(both).squeeze(2) + self.prior * norms
        return logits, 1 + EPSILON + functional.softplus(self.duration(summary)), mask > 0.5


class HybridPolicy(MultiInputActorCriticPolicy):
    """``PPO(HybridPolicy, FlatBoxAction(env))`` learns filters and duration jointly.

    Args:
        observation_space: Observation space of the pruning environment, with ``action_mask``.
        action_space: Action space of :class:`prune_gym.wrappers.FlatBoxAction`.
        lr_schedule: Learning rate as a function of the remaining progress, from the algorithm.
        hidden: Width of the networks.
        initial_keep: Keep ratio of the untrained policy, between 0 and 1.
        initial_duration: Mean duration of the untrained policy, between 0 and 1.
        norm_prior: Number that one standard deviation of a filter's norm adds to the filter's
            logit at first.
        arguments: Arguments of the base class; those of the network, such as ``net_arch``, have no
            effect here.

    Raises:
        ValueError: The action space is another one, or an argument is out of range.
    """

    def __init__(
        self,
        observation_space: spaces.Dict,
        action_space: spaces.Box,
        lr_schedule: Schedule,
        hidden: int = 64,
        initial_keep: float = 0.5,
        initial_duration: float = 0.1,
        norm_prior: float = 1.0,
        **arguments: Any,
    ) -> None:
        for name, value in (("initial_keep", initial_keep), ("initial_duration", initial_duration)):
            if not 0 < value < 1:
                raise ValueError(f"{name}={value} must lie between 0 and 1")
        if hidden < 1:
            raise ValueError(f"hidden={hidden} must be at least 1")
        mask = getattr(observation_space, "spaces", {}).get("action_mask")
        filters = mask.shape[0] if mask is not None and mask.shape else None
        if not isinstance(action_space, spaces.Box) or action_space.shape != ((filters or 0) + 1,):
            raise ValueError(
                f"HybridPolicy takes the Box of FlatBoxAction with {filters} filters, "
                f"not {action_space}"
            )
        self._own = {"hidden": hidden, "norm_prior": norm_prior}
        self._own |= {"initial_keep": initial_keep, "initial_duration": initial_duration}
        arguments["features_extractor_class"] = FilterFeatures
        super().__init__(observation_space, action_space, lr_schedule, **arguments)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | self._own

    def _build(self, lr_schedule: Schedule) -> None:
        """Build networks, distribution and optimizer; the base class has none for this action."""
        features = self.features_extractor
        assert isinstance(features, FilterFeatures)
        hidden = int(self._own["hidden"])
        self.mlp_extractor: Any = FilterCodes(features, hidden)
        self.action_dist = HybridDistribution()
        self.action_net = HybridHead(features.width, **self._own)  # type: ignore[arg-type]
        value = nn.Linear(hidden, 1)
        self.value_net: Any = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), value)
        rate: Any = {"lr": lr_schedule(1), **self.optimizer_kwargs}
        self.optimizer = self.optimizer_class(self.parameters(), **rate)

    def _get_action_dist_from_latent(self, latent_pi: Tensor) -> HybridDistribution:
        return HybridDistribution().proba_distribution(*self.action_net(latent_pi))


def _standardised(norms: Tensor, mask: Tensor) -> Tensor:
    """Standardise the norms over each layer's own filters; 0 in the padding."""
    filters = mask.sum(1, keepdim=True).clamp_min(1)
    centred = (norms - (norms * mask).sum(1, keepdim=True) / filters) * mask
    spread = ((centred**2).sum(1, keepdim=True) / filters).sqrt()
    return centred / spread.clamp_min(EPSILON)
