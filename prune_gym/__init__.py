"""Compressing a CNN for embedded hardware as a reinforcement-learning problem."""
