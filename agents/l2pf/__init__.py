"""L2PF: learn which filters to keep, and how long to fine-tune, by trying (Vemparala et al. 2021).

The body of the paper could not be read, so this is this project's formulation of its abstract,
on the ground of Huang et al. 2018 ("Learning to Prune Filters in Convolutional Neural
Networks"): a policy over a layer's filters, one Bernoulli each and a log-normal duration for all;
several candidates are tried from the same state; REINFORCE with each task's reward normalised to
zero mean and unit variance; the best candidate is carried out; the next layer; then a new episode
from the unpruned network. The order of the layers is the environment's ``order``.

Reads as: options, policy, trials, agent.
"""

from agents.l2pf.agent import L2PF
from agents.l2pf.options import L2PFOptions
from agents.l2pf.policy import FilterPolicy

__all__ = ["L2PF", "FilterPolicy", "L2PFOptions"]
