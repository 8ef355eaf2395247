"""A policy for Stable-Baselines3's PPO and A2C: bits for the filters, and a duration.

Reads from top to bottom: observation to features, features to codes, codes to the action's
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
    """The ``Dict`` observation as one vector, of which every part's place is known.

    First the action mask (n_max), then each filter's norm in standard deviations (n_max), then a
    row for each filter (n_max x row), last what describes the layer. It has no weights.

    Args:
        observation_space: The environment's; an entry with a multiple of n_max numbers describes
            the filters.

    Raises:
        ValueError: It has no ``action_mask`` of one dimension.
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
        """The vectors, shape (batch, features)."""
        mask = observations["action_mask"].float()
        shape = (len(mask), self.width, -1)
        rows = torch.cat([observations[key].float().reshape(shape) for key in self.rows], dim=2)
        norms = observations["l2"] if "l2" in observations else rows.norm(dim=2)
        norms = _standardised(norms.float(), mask)
        rest = [observations[key].float().flatten(1) for key in self.rest]
        return torch.cat([mask, norms, rows.flatten(1), *rest], dim=1)


class FilterCodes(nn.Module):
    """Codes of the filters and of the layer, for policy and value apart.

    The same small network goes over every filter with its layer's description; the mean over the
    filters is the layer's summary. So a layer's width and its padding make no difference.

    Args:
        features: Where the parts of its input lie.
        hidden: Width of the codes.
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
        """Latents of policy and value."""
        return self.forward_actor(features), self.forward_critic(features)

    def forward_actor(self, features: Tensor) -> Tensor:
        """Mask, norms, codes and summary, shape (batch, latent_dim_pi)."""
        codes = self.policy(self._inputs(features))
        summary = self._mean(codes, features)
        return torch.cat([features[:, : 2 * self.width], codes.flatten(1), summary], dim=1)

    def forward_critic(self, features: Tensor) -> Tensor:
        """The layer's summary, shape (batch, hidden)."""
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
    """The parameters of the action's distribution.

    Args:
        width: n_max.
        hidden: Width of the codes.
        initial_keep: Share of filters that the untrained policy keeps.
        initial_duration: Mean duration of the untrained policy.
        norm_prior: What one standard deviation of a filter's norm adds to its logit at first.
    """

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
        # At first the heads say the same of every layer: what the arguments ask for.
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
        """The arguments of :meth:`HybridDistribution.proba_distribution`.

        Args:
            latent: From :meth:`FilterCodes.forward_actor`.
        """
        sizes = [self.width, self.width, self.width * self.hidden, self.hidden]
        mask, norms, flat, summary = latent.split(sizes, dim=1)
        codes = flat.unflatten(1, (self.width, self.hidden))
        both = torch.cat([codes, summary[:, None].expand_as(codes)], dim=2)
        logits = self.keep(both).squeeze(2) + self.prior * norms
        return logits, 1 + EPSILON + functional.softplus(self.duration(summary)), mask > 0.5


class HybridPolicy(MultiInputActorCriticPolicy):
    """``PPO(HybridPolicy, FlatBoxAction(env))`` learns filters and duration jointly.

    Args:
        observation_space: The pruning environment's ``Dict`` with ``action_mask``.
        action_space: Of :class:`prune_gym.wrappers.FlatBoxAction`.
        lr_schedule: From the algorithm.
        hidden: Width of the networks.
        initial_keep: Share of filters that the untrained policy keeps, between 0 and 1.
        initial_duration: Mean duration of the untrained policy, between 0 and 1.
        norm_prior: What one standard deviation of a filter's norm adds to its logit at first.
        arguments: The base class's own; ``net_arch`` and the like have no effect here.

    Raises:
        ValueError: Another action space, or an argument out of range.
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
        self._own = {
            "hidden": hidden,
            "initial_keep": initial_keep,
            "initial_duration": initial_duration,
            "norm_prior": norm_prior,
        }
        arguments["features_extractor_class"] = FilterFeatures
        super().__init__(observation_space, action_space, lr_schedule, **arguments)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | self._own

    def _build(self, lr_schedule: Schedule) -> None:
        """Networks, distribution and optimizer; the base class knows only its own actions."""
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
        distribution = HybridDistribution()
        return distribution.proba_distribution(*self.action_net(latent_pi))


def _standardised(norms: Tensor, mask: Tensor) -> Tensor:
    """Of each layer's own filters, zero for padding; shape as it was."""
    filters = mask.sum(1, keepdim=True).clamp_min(1)
    centred = (norms - (norms * mask).sum(1, keepdim=True) / filters) * mask
    spread = ((centred**2).sum(1, keepdim=True) / filters).sqrt()
    return centred / spread.clamp_min(EPSILON)
