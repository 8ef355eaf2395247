"""AMC: DDPG chooses a layer's keep ratio, a criterion ranks the filters (He et al. 2018).

"AMC: AutoML for Model Compression and Acceleration on Mobile Devices". Details that the paper
leaves open follow its authors' public code; differences of this project are marked. The
environment meets the target by clipping the action, as in algorithm 1; the agent learns from the
action that it had chosen.

Read ``options.py``, then ``ddpg.py``, then ``agent.py``.
"""

from agents.amc.agent import AMC
from agents.amc.options import AMCOptions

__all__ = ["AMC", "AMCOptions"]
