"""The surrogate: a regressor that predicts the accuracy after a step, for pretraining agents.

Import names from the modules of this package; records can then be read without the regressor.
"""
