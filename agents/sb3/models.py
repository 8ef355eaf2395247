"""Stable-Baselines3's algorithms, set up for pruning environments."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from stable_baselines3 import A2C, DDPG, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.type_aliases import GymEnv
from stable_baselines3.common.vec_env import VecEnv
from torch.optim import Adam

from agents.sb3 import options
from agents.sb3.policy import HybridPolicy
from prune_gym.errors import PruneGymError, UnknownNameError

# Options of the action wrapper, which the algorithm does not take.
FORM_OPTIONS = ("criterion", "least", "duration", "durations")
_POLICY = ("hidden", "initial_keep", "initial_duration", "norm_prior")
Arguments = dict[str, Any]


def make_model(name: str, env: GymEnv, seed: int = 0, **arguments: Any) -> BaseAlgorithm:
    """Make an algorithm on one environment, or on a vector environment.

    ``make_model("ppo", make_vec_env(lambda: adapt(gym.make(id), "flat_box"), 2))`` is a
    ``stable_baselines3.PPO``, and its callbacks, ``Monitor``, ``evaluate_policy`` and ``VecEnv``
    classes work with it. The agents of :mod:`agents.sb3.agents` use this function too.

    Args:
        name: ``"ppo"``, ``"a2c"`` (both on ``"flat_box"``), ``"maskable_ppo"`` (on
            ``"masked_multi_discrete"``), ``"sac"``, ``"td3"`` or ``"ddpg"`` (on
            ``"keep_ratio"``; see :func:`prune_gym.wrappers.adapt`).
        env: A pruning environment with the algorithm's action form.
        seed: Seed of all that the algorithm draws.
        arguments: Options of the algorithm (:mod:`agents.sb3.options`); those of the action wrapper
            have no effect here.

    Returns:
        The algorithm, on the CPU.

    Raises:
        UnknownNameError: There is no such algorithm.
        ValueError: An option is out of range.
        PruneGymError: ``maskable_ppo`` needs sb3-contrib, which is not installed.
    """
    if name not in _MODELS:
        raise UnknownNameError("algorithm", name, _MODELS)
    kind, make = _MODELS[name]
    return make(env, kind(**arguments), {"env": env, "seed": seed, "device": "cpu"})


def _attribute(env: GymEnv, name: str) -> Any:
    """Read an attribute of the pruning environment inside an environment."""
    if isinstance(env, VecEnv):
        return env.get_attr(name)[0]
    assert not isinstance(env, str)
    return env.get_wrapper_attr(name)


def _on_policy(env: GymEnv, chosen: options.OnPolicyOptions) -> Arguments:
    """Return the arguments of an algorithm that learns from rollouts of whole episodes."""
    names = ("learning_rate", "gamma", "gae_lambda", "vf_coef", "max_grad_norm", "ent_coef")
    steps = len(_attribute(env, "visited")) * chosen.rollout_episodes
    arguments = {name: getattr(chosen, name) for name in names} | {"n_steps": steps}
    if isinstance(chosen, options.PPOOptions | options.MaskablePPOOptions):
        envs = env.num_envs if isinstance(env, VecEnv) else 1
        arguments["batch_size"] = steps * envs // chosen.minibatches
        arguments |= {"n_epochs": chosen.n_epochs, "clip_range": chosen.clip_range}
    if isinstance(chosen, options.A2COptions) and _attribute(env, "action_mode") != "alf":
        own = {name: getattr(chosen, name) for name in _POLICY}
        own = {name: value for name, value in own.items() if value is not None}
        return {**arguments, "policy": HybridPolicy, "policy_kwargs": own}
    # Discrete bits and the ALF mode's two numbers need no more than Stable-Baselines3's policies.
    return {**arguments, **_layers(chosen.hidden)}


def _layers(hidden: int) -> Arguments:
    """Return the arguments of Stable-Baselines3's own policies."""
    return {"policy": "MultiInputPolicy", "policy_kwargs": {"net_arch": [hidden] * 2}}


def _ppo(env: GymEnv, chosen: options.PPOOptions, common: Arguments) -> BaseAlgorithm:
    return PPO(**_on_policy(env, chosen), **common)


def _a2c(env: GymEnv, chosen: options.A2COptions, common: Arguments) -> BaseAlgorithm:
    arguments = _on_policy(env, chosen)
    arguments["policy_kwargs"]["optimizer_class"] = Adam
    return A2C(use_rms_prop=False, **arguments, **common)


def _maskable(env: GymEnv, chosen: options.MaskablePPOOptions, common: Arguments) -> BaseAlgorithm:
    try:
        from sb3_contrib import MaskablePPO
    except ImportError as error:
        raise PruneGymError("maskable_ppo needs sb3-contrib: pip install prune-gym[sb3]") from error
    model = MaskablePPO(**_on_policy(env, chosen), **common)
    if chosen.initial_keep is not None:
        # Each filter has two logits, of which the second keeps it; the durations come last.
        head: Any = model.policy.action_net
        bias = head.bias.data
        bias[1 : len(bias) - chosen.durations : 2] = float(
            np.log(chosen.initial_keep / (1 - chosen.initial_keep))
        )
    return model


def _off_policy(env: GymEnv, chosen: options.OffPolicyOptions) -> Arguments:
    names = ("learning_rate", "buffer_size", "batch_size", "tau", "gamma")
    length = len(_attribute(env, "visited"))
    return {name: getattr(chosen, name) for name in names} | {
        "learning_starts": chosen.warmup_episodes * length,
        "train_freq": (length, "step"),
        "gradient_steps": chosen.updates * length,
        **_layers(chosen.hidden),
    }


def _sac(env: GymEnv, chosen: options.SACOptions, common: Arguments) -> BaseAlgorithm:
    return SAC(ent_coef=chosen.ent_coef, **_off_policy(env, chosen), **common)


class _SlowActor:
    """Lets the actor learn more slowly than the critic, as AMC does (1e-4 and 1e-3).

    With equal rates, the actor follows an untrained critic to a corner of the action space within
    a few steps, where its tanh has no gradient to return.
    """

    actor_share = 1.0

    def _update_learning_rate(self, optimizers: Any) -> None:
        super()._update_learning_rate(optimizers)  # type: ignore[misc]
        for group in self.actor.optimizer.param_groups:  # type: ignore[attr-defined]
            group["lr"] *= self.actor_share


class _TD3(_SlowActor, TD3):
    pass


class _DDPG(_SlowActor, DDPG):
    pass


def _noisy(kind: Any, env: GymEnv, chosen: options.TD3Options, common: Arguments) -> BaseAlgorithm:
    assert not isinstance(env, str)
    size = np.ones(env.action_space.shape or ())
    noise = NormalActionNoise(0 * size, chosen.noise * size)
    model: BaseAlgorithm = kind(action_noise=noise, **_off_policy(env, chosen), **common)
    model.actor_share = chosen.actor_share  # type: ignore[attr-defined]
    return model


_MODELS: dict[str, tuple[Any, Callable[..., BaseAlgorithm]]] = {
    "ppo": (options.PPOOptions, _ppo),
    "a2c": (options.A2COptions, _a2c),
    "maskable_ppo": (options.MaskablePPOOptions, _maskable),
    "sac": (options.SACOptions, _sac),
    "td3": (options.TD3Options, partial(_noisy, _TD3)),
    "ddpg": (options.TD3Options, partial(_noisy, _DDPG)),
}
