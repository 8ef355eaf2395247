"""AMC: a layer's keep ratio by DDPG, filters by a criterion (He et al. 2018).

"AMC: AutoML for Model Compression and Acceleration on Mobile Devices". What the paper leaves open
follows its authors' public code; where this project differs, it says so. The target is met by the
environment, which clips the action as algorithm 1 does; the agent learns on what it had chosen.

Reads as: options, memory, ddpg, agent.
"""

from agents.amc.agent import AMC
from agents.amc.options import AMCOptions

__all__ = ["AMC", "AMCOptions"]
