"""Several environments at a time, sharing what they can."""

from prune_gym.vector.make import make_surrogate_vector, make_vector, sb3_vec_env

__all__ = ["make_surrogate_vector", "make_vector", "sb3_vec_env"]
