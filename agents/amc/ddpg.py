"""Deep deterministic policy gradients for one action within [0, 1] (Lillicrap et al. 2016).

As in AMC (He et al. 2018, section 3), the discount is 1 and a moving average of the rewards is the
baseline. Sizes and constants are those of the authors' code.
"""

import copy
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from agents import files
from agents.amc.options import AMCOptions
from prune_gym.errors import WeightsError

Array = npt.NDArray[np.float32]
FIELDS = ("states", "actions", "rewards", "following", "ended")


class Memory:
    """The last transitions; a new one overwrites the oldest.

    Args:
        capacity: Largest number of transitions.
        state: Length of a state.
    """

    def __init__(self, capacity: int, state: int) -> None:
        sizes = dict.fromkeys(FIELDS, 1) | {"states": state, "following": state}
        self.arrays = {name: np.zeros((capacity, sizes[name]), np.float32) for name in FIELDS}
        self.capacity, self.added = capacity, 0

    def __len__(self) -> int:
        return min(self.added, self.capacity)

    def add(self, *values: Array | float) -> None:
        """Add one transition, its values in the order of ``FIELDS``."""
        for name, value in zip(FIELDS, values, strict=True):
            self.arrays[name][self.added % self.capacity] = value
        self.added += 1

    def sample(self, count: int, random: np.random.Generator) -> dict[str, Tensor]:
        """Draw transitions with replacement, each field of shape (count, ...)."""
        chosen = random.integers(len(self), size=count)
        return {name: torch.from_numpy(array[chosen]) for name, array in self.arrays.items()}

    def tensors(self) -> dict[str, Tensor]:
        """Return copies of the transitions, by the names of ``FIELDS``."""
        return {n: torch.from_numpy(array[: len(self)].copy()) for n, array in self.arrays.items()}

    def set_tensors(self, tensors: Mapping[str, Tensor], added: int) -> None:
        """Restore what :meth:`tensors` returned.

        Args:
            tensors: Transitions by the names of ``FIELDS``.
            added: Number of transitions ever added.

        Raises:
            WeightsError: The tensors are of a memory of another shape.
        """
        self.added = added
        for name, array in self.arrays.items():
            shape = (len(self), array.shape[1])
            if name not in tensors or tuple(tensors[name].shape) != shape:
                raise WeightsError(f"The saved memory's {name!r} does not fit; needed: {shape}.")
            array[: len(self)] = tensors[name].numpy()


class Actor(nn.Module):
    """Network from a state to an action, with two layers of the same width."""

    def __init__(self, state: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(state, hidden), *_hidden_and_output(hidden))

    def forward(self, states: Tensor) -> Tensor:
        """Return actions within (0, 1), shape (batch, 1)."""
        actions: Tensor = self.layers(states).sigmoid()
        return actions


def _hidden_and_output(hidden: int) -> list[nn.Module]:
    return [nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1)]


class Critic(nn.Module):
    """Network from state and action to the return of the rest of the episode."""

    def __init__(self, state: int, hidden: int) -> None:
        super().__init__()
        self.of_state = nn.Linear(state, hidden)
        self.of_action = nn.Linear(1, hidden)
        self.rest = nn.Sequential(*_hidden_and_output(hidden))

    def forward(self, states: Tensor, actions: Tensor) -> Tensor:
        """Return values, shape (batch, 1)."""
        values: Tensor = self.rest(self.of_state(states) + self.of_action(actions))
        return values


class DDPG:
    """Actor and critic, their target networks, and the memory from which they learn.

    Args:
        state: Length of a state.
        settings: Hyperparameters.
        seed: Seed of the weights.
    """

    def __init__(self, state: int, settings: AMCOptions, seed: int) -> None:
        self.settings = settings
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.actor = Actor(state, settings.hidden)
            self.critic = Critic(state, settings.hidden)
        self.slow_actor, self.slow_critic = copy.deepcopy(self.actor), copy.deepcopy(self.critic)
        slow = {"slow_actor": self.slow_actor, "slow_critic": self.slow_critic}
        self._modules = {"critic": self.critic, **slow}
        adam = torch.optim.Adam
        self.actor_optimizer = adam(self.actor.parameters(), settings.actor_learning_rate)
        self.critic_optimizer = adam(self.critic.parameters(), settings.critic_learning_rate)
        self._optimizers = {
            "actor_optimizer": self.actor_optimizer,
            "critic_optimizer": self.critic_optimizer,
        }
        self.memory = Memory(settings.memory, state)
        self.baseline: float | None = None

    @torch.no_grad()
    def action(self, state: Array) -> float:
        """Return the actor's action in a state, within (0, 1)."""
        return float(self.actor(torch.from_numpy(state)[None]).item())

    def update(self, random: np.random.Generator) -> dict[str, float]:
        """Take one gradient step of critic and actor on transitions of the memory.

        The critic's target is ``r - b + gamma * Q'(s', mu'(s'))`` with the moving average ``b`` of
        the batches' mean reward (He et al. 2018, section 3.3); the actor follows ``dQ/da``.

        Args:
            random: Generator that draws the transitions.

        Returns:
            Metrics of the step by name.
        """
        batch = self.memory.sample(self.settings.batch_size, random)
        mean = float(batch["rewards"].mean())
        decay = self.settings.baseline_decay
        self.baseline = (
            mean if self.baseline is None else decay * self.baseline + (1 - decay) * mean
        )
        with torch.no_grad():
            following = batch["following"]
            later = self.slow_critic(following, self.slow_actor(following))
            wanted = batch["rewards"] - self.baseline
            wanted += self.settings.gamma * (1 - batch["ended"]) * later
        critic_loss = functional.mse_loss(self.critic(batch["states"], batch["actions"]), wanted)
        _descend(self.critic_optimizer, critic_loss)
        actor_loss = -self.critic(batch["states"], self.actor(batch["states"])).mean()
        _descend(self.actor_optimizer, actor_loss)
        self._follow()
        return {
            "critic_loss": float(critic_loss.detach()),
            "actor_loss": float(actor_loss.detach()),
            "baseline": self.baseline,
        }

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the target networks a little towards the learned ones."""
        for slow, fast in ((self.slow_actor, self.actor), (self.slow_critic, self.critic)):
            for own, other in zip(slow.parameters(), fast.parameters(), strict=True):
                own.lerp_(other, self.settings.tau)

    def tensors(self) -> dict[str, Tensor]:
        """Return what learning needs to continue, except the actor, as tensors by name."""
        result: dict[str, Tensor] = {}
        for name, module in self._modules.items():
            result |= {f"{name}/{key}": value for key, value in module.state_dict().items()}
        for name, optimizer in self._optimizers.items():
            result |= files.optimizer_tensors(optimizer, f"{name}/")
        return result | {f"memory/{name}": value for name, value in self.memory.tensors().items()}

    def set_tensors(self, tensors: Mapping[str, Tensor], added: int) -> None:
        """Restore what :meth:`tensors` returned.

        Args:
            tensors: Tensors by name.
            added: Number of transitions ever added to the memory.
        """
        for name, module in self._modules.items():
            files.set_module(module, tensors, f"{name}/")
        for name, optimizer in self._optimizers.items():
            files.set_optimizer(optimizer, tensors, f"{name}/")
        self.memory.set_tensors(files.pick(tensors, "memory/"), added)


def _descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
