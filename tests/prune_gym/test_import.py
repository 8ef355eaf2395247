"""Modules that an import loads, in fresh processes."""

import subprocess
import sys


def fresh(script):
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_importing_loads_no_torch():
    fresh("import sys, prune_gym; assert 'torch' not in sys.modules, 'torch'")
    fresh("import sys, hw_sim; assert 'torch' not in sys.modules, 'torch'")
    fresh("import sys, agents; assert 'torch' not in sys.modules, 'torch'")


def test_ids_are_known_after_the_import():
    script = (
        "import gymnasium as gym, prune_gym\n"
        "prune_gym.register_environments()\n"
        "for name in prune_gym.environment_ids(): gym.spec(name)\n"
        "print(len(prune_gym.environment_ids()))\n"
    )
    assert fresh(script).strip() == "13"


def test_the_alf_id_is_made_in_a_fresh_process():
    script = (
        "import gymnasium as gym\n"
        "env = gym.make('prune_gym:PruneResNet20-ALF-v0', threads=1, eval_images=32)\n"
        "print(sorted(env.action_space.spaces))\n"
    )
    assert fresh(script).strip() == "['duration', 'sparsity']"


def test_ids_are_known_through_the_module_prefix():
    script = (
        "import gymnasium as gym\n"
        "try: gym.make('prune_gym:PruneResNet20-v0', dataset='nothing')\n"
        "except ValueError as error: print(error)\n"
    )
    assert "Unknown data set 'nothing'" in fresh(script)
