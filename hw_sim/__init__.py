"""A deterministic accelerator model: what a convolution costs in cycles, energy and traffic."""
