"""The agents ``ppo``, ``a2c``, ``maskable_ppo``, ``sac``, ``td3`` and ``ddpg``."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import gymnasium as gym

from agents.base import Action, Agent, Budget, Callback, Info, Observation
from agents.common.keep_ratio import with_initial_keep
from agents.files import POLICY, TRAINING, pick, read_facts, save_tensors, write_facts
from agents.sb3 import options, storage
from agents.sb3.randomness import Randomness
from prune_gym.errors import PruneGymError
from prune_gym.files import write_atomically
from prune_gym.weights import load_weights, read_weights, save_weights
from prune_gym.wrappers import ActionForm, ActionMaskObservation, adapt

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

_RANDOM = "random/"


class SB3Agent(Agent):
    """An algorithm of Stable-Baselines3 with this project's interface.

    The algorithm is :attr:`model`. It acts in the form :attr:`action_form`, and :meth:`act`
    converts its actions to the environment's own. In the ALF mode all agents but ``maskable_ppo``
    act on the two numbers of ``flat_box``, with Stable-Baselines3's own policies; options that rank
    and count filters (``criterion``, ``least``, ``initial_keep``, ``norm_prior``) have no effect
    there.

    Args:
        env: A pruning environment with its own ``Dict`` action.
        seed: Seed of all that the agent draws, and of the environment in :meth:`learn`.
        options: Hyperparameters by name (:mod:`agents.sb3.options`).

    Raises:
        PruneGymError: Stable-Baselines3 is not installed.
        ValueError: The environment has another action space, or a hyperparameter is out of range.
    """

    algorithm: ClassVar[str]
    Options: ClassVar[type[Any]]
    vector_env = True
    extra = "sb3"
    action_modes: ClassVar[tuple[str, ...]] = ("filters", "alf")

    def __init__(self, env: gym.Env[Any, Any], seed: int = 0, **options: Any) -> None:
        super().__init__(env, seed)
        try:
            from agents.sb3.models import make_model
        except ImportError as error:
            raise PruneGymError(
                f"{self.algorithm} needs Stable-Baselines3: pip install prune-gym[sb3]"
            ) from error

        self.options = with_initial_keep(self.Options(**options), env)
        self.randomness = Randomness(seed)
        self._partial: storage.Arrays | None = None
        adapted = self._adapted(env)
        with self.randomness():
            self.model: BaseAlgorithm = make_model(
                self.algorithm, adapted, seed, **asdict(self.options)
            )

    def _adapted(self, env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
        """Wrap an environment so that it takes the algorithm's actions."""
        from agents.sb3.models import FORM_OPTIONS

        given = asdict(self.options)
        if self.pruning.action_mode == "alf":
            if given.get("duration") is not None:
                raise ValueError(
                    f"duration={given['duration']}: in action_mode='alf' the agent learns the "
                    "duration; leave the option out"
                )
            return adapt(env, "flat_box")
        arguments = {name: given[name] for name in FORM_OPTIONS if name in given}
        return adapt(env, self.action_form, **arguments)

    def act(
        self, observation: Observation, info: Info | None = None, deterministic: bool = False
    ) -> Action:
        """See :meth:`agents.base.Agent.act`; the policies of td3 and ddpg draw nothing."""
        shown, arguments = dict(observation), dict[str, Any]()
        form = self._adapted(self.env)
        if isinstance(form, ActionMaskObservation):
            shown = form.observation(shown)
            arguments["action_masks"] = form.action_masks()
            form = form.env
        assert isinstance(form, ActionForm)
        with self.randomness():
            action, _ = self.model.predict(shown, deterministic=deterministic, **arguments)
        return form.native(action, dict(observation))

    def learn(self, budget: Budget, callback: Callback | None = None) -> None:
        """Learn by whole episodes until the budget is spent (:meth:`Agent.learn`)."""
        from agents.sb3.callback import BudgetCallback, EpisodeWatcher, learn

        callback = callback or Callback()
        if self._searched is not self.env:
            self._partial = None  # a rollout that began in another environment
        seed = self.begin_search()
        watcher = EpisodeWatcher(self, callback)

        def checkpoint() -> None:
            self._partial = within.partial
            callback.on_checkpoint(self)

        within = BudgetCallback(watcher, budget, callback, checkpoint, self._partial)
        if within.spent():
            return
        with self.randomness():
            self.model.set_env(self._adapted(watcher))
            if seed is not None:
                envs = self.model.get_env()
                assert envs is not None
                envs.seed(seed)
            learn(self.model, within)
        watcher.undo_reset()
        self._partial = within.partial

    # Files

    def save(self, folder: Path) -> None:
        """Write the policy, and the optimizers, buffers and random states (:mod:`agents.files`)."""
        save_weights(self.model.policy, folder / POLICY)
        tensors = storage.training_tensors(self.model, self._partial)
        tensors |= {_RANDOM + name: value for name, value in self.randomness.state().items()}
        save_tensors(folder / TRAINING, tensors)
        model = storage.counters(self.model)
        write_facts(folder, self, self.algorithm, options=asdict(self.options), model=model)

    def load(self, folder: Path) -> None:
        """See :meth:`agents.base.Agent.load`."""
        facts = read_facts(folder, self, self.algorithm)
        load_weights(self.model.policy, folder / POLICY)
        tensors = read_weights(folder / TRAINING)
        self.randomness.set_state(pick(tensors, _RANDOM))
        rest = {name: value for name, value in tensors.items() if not name.startswith(_RANDOM)}
        self._partial = storage.set_training_tensors(self.model, rest)
        storage.set_counters(self.model, facts["model"])

    def export_zip(self, path: Path) -> Path:
        """Write Stable-Baselines3's own file, for use outside this project.

        The file is pickled, and loading a pickle runs code from it, so this project never loads
        one.

        Args:
            path: Path of the file, which ends in ``.zip``.

        Returns:
            ``path``.
        """
        return write_atomically(path, lambda temporary: self.model.save(temporary))


class PPO(SB3Agent):
    """Proximal policy optimisation on the joint policy of filters and duration."""

    algorithm = "ppo"
    action_form = "flat_box"
    Options = options.PPOOptions


class A2C(SB3Agent):
    """Advantage actor-critic on the joint policy of filters and duration."""

    algorithm = "a2c"
    action_form = "flat_box"
    Options = options.A2COptions


class MaskablePPO(SB3Agent):
    """sb3-contrib's PPO with masks: a choice of two for each filter, and one of a few durations."""

    algorithm = "maskable_ppo"
    action_form = "masked_multi_discrete"
    action_modes = ("filters",)
    Options = options.MaskablePPOOptions


class SAC(SB3Agent):
    """Soft actor-critic on a layer's keep ratio and duration."""

    algorithm = "sac"
    action_form = "keep_ratio"
    Options = options.SACOptions


class TD3(SB3Agent):
    """Twin delayed DDPG on a layer's keep ratio and duration."""

    algorithm = "td3"
    action_form = "keep_ratio"
    Options = options.TD3Options


class DDPG(SB3Agent):
    """Deep deterministic policy gradients on a layer's keep ratio and duration."""

    algorithm = "ddpg"
    action_form = "keep_ratio"
    Options = options.TD3Options
