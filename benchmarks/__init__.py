"""Measurements of the project: speed, agents and the published tables."""
