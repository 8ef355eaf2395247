"""L2PF: learn by trying which filters to keep and how long to fine-tune (Vemparala et al. 2021).

The full text of the paper was not available, so this is this project's formulation of its
abstract, based on Huang et al. 2018 ("Learning to Prune Filters in Convolutional Neural
Networks"). The policy gives a Bernoulli distribution for each filter of a layer and one log-normal
duration. The agent tries several candidates from the same state, updates the policy by REINFORCE
with each reward component normalised to zero mean and unit variance, executes the best candidate,
and moves to the next layer. The environment's ``order`` decides the order of the layers.

Read ``options.py``, then ``policy.py``, then ``agent.py``.
"""

from agents.l2pf.agent import L2PF
from agents.l2pf.options import L2PFOptions
from agents.l2pf.policy import FilterPolicy

__all__ = ["L2PF", "FilterPolicy", "L2PFOptions"]
