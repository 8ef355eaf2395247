"""The unpruned network: it must fit the data, and its subsets must fit the splits."""

from dataclasses import replace

import pytest

from prune_gym.envs import PruningEnv


def test_a_network_that_does_not_fit_the_images_is_refused(tiny_trained):
    network, dataset = tiny_trained
    settings = {"eval_images": 64, "repair_images": 64, "threads": 1}
    for change in ({"input_shape": (3, 16, 16)}, {"num_classes": 3}):
        with pytest.raises(ValueError, match="the network takes images of shape"):
            PruningEnv(replace(network, **change), dataset, **settings)


def test_small_splits_are_used_whole_by_default(make_tiny_env):
    env = make_tiny_env(eval_images=None, repair_images=None)
    splits = env.baseline.dataset
    assert len(env.baseline.eval_labels) == min(1000, len(splits.validation)) == 64
    assert len(env.baseline.repair_images) == min(256, len(splits.train))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"eval_images": 65}, "eval_images=65 must be 1 to 64, the number of images"),
        ({"repair_images": 257}, "repair_images=257 must be 1 to 256"),
        ({"device": "abacus"}, "device 'abacus' is not available"),
    ],
)
def test_what_this_machine_or_data_set_lacks_is_named(make_tiny_env, arguments, message):
    with pytest.raises(ValueError, match=message):
        make_tiny_env(**arguments)
