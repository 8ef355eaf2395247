"""The process of a benchmark's run: ``python -m benchmarks.worker JSON``.

JSON is a :class:`prune_gym.runs.RunConfig`. A run that was started before continues.
"""

import json
import sys

from prune_gym.errors import Stopped
from prune_gym.runs import Run, RunConfig
from prune_gym.runs import folder as files
from prune_gym.signals import stopped_by_signals


def main() -> int:
    """Start the run, or continue it; the exit status is 130 if a signal stopped it."""
    config = RunConfig.from_json(json.loads(sys.argv[1]))
    try:
        with stopped_by_signals():
            if (config.folder / files.CONFIG).is_file():
                named = (config.agent, str(config.environment().network))
                report = Run.resume(config.folder, quiet=True, trust=named)
            else:
                report = Run(config, quiet=True).start()
    except Stopped as stopped:
        print(stopped)
        return 130
    print(report.summary())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
