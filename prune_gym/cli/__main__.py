"""``python -m prune_gym.cli`` is the command ``prune-gym``."""

import sys

from prune_gym.cli import main

sys.exit(main())
