"""Stable-Baselines3's algorithms, set up for pruning environments."""

from collections.abc import Callable
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

# What of the options goes to the wrapper, and not to the algorithm.
FORM_OPTIONS = ("criterion", "least", "duration", "durations")
_POLICY = ("hidden", "initial_keep", "initial_duration", "norm_prior")
Arguments = dict[str, Any]


def make_model(name: str, env: GymEnv, seed: int = 0, **arguments: Any) -> BaseAlgorithm:
    """An algorithm on one environment, or on a vector environment of several.

    ``make_model("ppo", make_vec_env(lambda: adapt(gym.make(id), "flat_box"), 2))`` is a
    ``stable_baselines3.PPO``, and its callbacks, ``Monitor``, ``evaluate_policy`` and ``VecEnv``
    classes work with it. Agents (:mod:`agents.sb3.agents`) make theirs here too.

    Args:
        name: ``"ppo"``, ``"a2c"`` (both on ``"flat_box"``), ``"maskable_ppo"`` (on
            ``"masked_multi_discrete"``), ``"sac"``, ``"td3"`` or ``"ddpg"`` (on
            ``"keep_ratio"``; see :func:`prune_gym.wrappers.adapt`).
        env: With the form of action that the algorithm takes, and an attribute ``visited``.
        seed: Of everything that it draws.
        arguments: Its options (:mod:`agents.sb3.options`); those of the wrapper do nothing here.

    Returns:
        The algorithm, on the CPU.

    Raises:
        UnknownNameError: No such algorithm.
        ValueError: An option is out of range.
        PruneGymError: ``maskable_ppo`` without sb3-contrib.
    """
    if name not in _MODELS:
        raise UnknownNameError("algorithm", name, _MODELS)
    kind, make = _MODELS[name]
    return make(env, _episode_length(env), kind(**arguments), {"seed": seed, "device": "cpu"})


def _episode_length(env: GymEnv) -> int:
    if isinstance(env, VecEnv):
        return len(env.get_attr("visited")[0])
    assert not isinstance(env, str)
    return len(env.get_wrapper_attr("visited"))


def _hybrid(env: GymEnv, chosen: Any) -> Arguments:
    """Of the two numbers of the ALF mode a Gaussian is policy enough."""
    if _is_alf(env):
        layers = {"net_arch": [chosen.hidden] * 2}
        return {**_common(chosen), "policy": "MultiInputPolicy", "policy_kwargs": layers}
    return {
        **_common(chosen),
        "policy": HybridPolicy,
        "policy_kwargs": {
            name: getattr(chosen, name) for name in _POLICY if getattr(chosen, name) is not None
        },
    }


def _is_alf(env: GymEnv) -> bool:
    if isinstance(env, VecEnv):
        return bool(env.get_attr("action_mode")[0] == "alf")
    assert not isinstance(env, str)
    return bool(env.get_wrapper_attr("action_mode") == "alf")


def _common(chosen: Any) -> Arguments:
    names = ("learning_rate", "gamma", "gae_lambda", "vf_coef", "max_grad_norm", "ent_coef")
    return {name: getattr(chosen, name) for name in names}


def _passes(env: GymEnv, length: int, chosen: Any) -> Arguments:
    steps = length * chosen.rollout_episodes
    envs = env.num_envs if isinstance(env, VecEnv) else 1
    batch = steps * envs // chosen.minibatches
    return {
        "n_steps": steps,
        "batch_size": batch,
        "n_epochs": chosen.n_epochs,
        "clip_range": chosen.clip_range,
    }


def _ppo(env: GymEnv, length: int, chosen: options.PPOOptions, both: Arguments) -> BaseAlgorithm:
    return PPO(env=env, **_hybrid(env, chosen), **_passes(env, length, chosen), **both)


def _a2c(env: GymEnv, length: int, chosen: options.A2COptions, both: Arguments) -> BaseAlgorithm:
    arguments = _hybrid(env, chosen)
    arguments["policy_kwargs"]["optimizer_class"] = Adam
    steps = length * chosen.rollout_episodes
    return A2C(env=env, n_steps=steps, use_rms_prop=False, **arguments, **both)


def _maskable(
    env: GymEnv, length: int, chosen: options.MaskablePPOOptions, both: Arguments
) -> BaseAlgorithm:
    try:
        from sb3_contrib import MaskablePPO
    except ImportError as error:
        raise PruneGymError("maskable_ppo needs sb3-contrib: pip install prune-gym[sb3]") from error
    layers: Arguments = {"policy_kwargs": {"net_arch": [chosen.hidden] * 2}}
    passes = _passes(env, length, chosen)
    model = MaskablePPO("MultiInputPolicy", env, **_common(chosen), **passes, **layers, **both)
    if chosen.initial_keep is not None:
        # Of the two logits of each filter the second is to keep it; the durations come last.
        head: Any = model.policy.action_net
        bias = head.bias.data
        bias[1 : len(bias) - chosen.durations : 2] = float(
            np.log(chosen.initial_keep / (1 - chosen.initial_keep))
        )
    return model


def _off_policy(length: int, chosen: options.OffPolicyOptions) -> Arguments:
    return {
        "learning_rate": chosen.learning_rate,
        "buffer_size": chosen.buffer_size,
        "learning_starts": chosen.warmup_episodes * length,
        "batch_size": chosen.batch_size,
        "tau": chosen.tau,
        "gamma": chosen.gamma,
        "train_freq": (length, "step"),
        "gradient_steps": chosen.updates * length,
        "policy_kwargs": {"net_arch": [chosen.hidden] * 2},
    }


def _sac(env: GymEnv, length: int, chosen: options.SACOptions, both: Arguments) -> BaseAlgorithm:
    common = _off_policy(length, chosen)
    return SAC("MultiInputPolicy", env, ent_coef=chosen.ent_coef, **common, **both)


class _SlowActor:
    """Lets the actor learn more slowly than the critic, as AMC does (1e-4 beside 1e-3).

    With one rate, the actor follows an untrained critic to a corner of the action space within
    few steps, and its tanh has no gradient there to come back by.
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


def _noisy(kind: Any) -> Callable[..., BaseAlgorithm]:
    def make(
        env: GymEnv, length: int, chosen: options.TD3Options, both: Arguments
    ) -> BaseAlgorithm:
        assert not isinstance(env, str)
        size = np.ones(env.action_space.shape or ())
        noise = NormalActionNoise(0 * size, chosen.noise * size)
        common = _off_policy(length, chosen)
        model = kind("MultiInputPolicy", env, action_noise=noise, **common, **both)
        model.actor_share = chosen.actor_share
        return model

    return make


_MODELS: dict[str, tuple[Any, Callable[..., BaseAlgorithm]]] = {
    "ppo": (options.PPOOptions, _ppo),
    "a2c": (options.A2COptions, _a2c),
    "maskable_ppo": (options.MaskablePPOOptions, _maskable),
    "sac": (options.SACOptions, _sac),
    "td3": (options.TD3Options, _noisy(_TD3)),
    "ddpg": (options.TD3Options, _noisy(_DDPG)),
}
