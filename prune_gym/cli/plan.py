"""What a search is to do, from the command line or from a run that goes on."""

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prune_gym import registration
from prune_gym.cli.settings import environment_settings, parse_settings
from prune_gym.errors import PruneGymError
from prune_gym.runs import folder as run_folder

EPISODES, FINAL_EPOCHS = 10, 5.0


@dataclass
class Plan:
    """All that a run's result depends on.

    Args:
        id: The environment's id.
        env_arguments: Its arguments.
        agent: The agent's name.
        agent_options: Its hyperparameters.
        seed: Of agent and environment.
        budget: Limits by name, as :class:`agents.base.Budget` takes them.
        final_epochs: Fine-tuning of the best network.
    """

    id: str
    env_arguments: dict[str, Any]
    agent: str
    agent_options: dict[str, Any]
    seed: int
    budget: dict[str, Any]
    final_epochs: float

    def facts(self) -> dict[str, Any]:
        """The plan as records hold it."""
        return asdict(self)


def from_arguments(arguments: argparse.Namespace) -> Plan:
    """The plan that the command line spells out.

    Raises:
        PruneGymError: Something needed was not given, or a value cannot be.
    """
    import agents

    for name, value in (("an environment's id", arguments.id), ("--out", arguments.out)):
        if value is None:
            raise PruneGymError(
                f"{name} is missing: prune-gym train ID --out FOLDER, or train --resume RUN"
            )
    if arguments.seed is not None and arguments.seed < 0:
        raise PruneGymError(f"--seed {arguments.seed} must be at least 0")
    budget = limits(arguments)
    if all(value is None for value in budget.values()):
        budget["episodes"] = EPISODES
    epochs = FINAL_EPOCHS if arguments.final_epochs is None else arguments.final_epochs
    check_final_epochs(epochs)
    agent = arguments.agent or "l2pf"
    given = parse_settings(arguments.set, "hyperparameter", hyperparameters(agent))
    settings = environment_settings(arguments)
    only = agents.lookup(agent).action_modes
    if only == ("alf",) and "action_mode" not in settings and arguments.id != registration.ALF:
        print(f"{agent} works in the ALF mode alone, so the environment gets action_mode=alf.")
        settings["action_mode"] = "alf"
    alone = [name for name, value in budget.items() if value is not None] == ["search_macs"]
    if arguments.id == registration.SURROGATE and alone:
        raise PruneGymError(
            "--search-macs would never end in a surrogate, which spends no MACs. Give --episodes, "
            "--steps or --minutes."
        )
    return Plan(
        id=arguments.id,
        env_arguments=settings,
        agent=agent,
        # Recorded in full, so that a resumed run does not depend on what is the default by then.
        agent_options=agents.hyperparameters(agent) | given,
        seed=arguments.seed or 0,
        budget=budget,
        final_epochs=epochs,
    )


def from_run(arguments: argparse.Namespace) -> tuple[Plan, dict[str, Any]]:
    """The plan of a run that was stopped or killed, with new limits where they are given.

    Returns:
        The plan and the run's configuration.

    Raises:
        PruneGymError: The folder holds no run, it is finished, or the command line gives what the
            run has decided.
    """
    folder: Path = arguments.resume
    decided = (
        *("id", "out", "agent", "seed", "dataset", "weights", "objective", "accelerator"),
        *("device", "threads", "warm_start", "set", "env", "target", "overwrite"),
    )
    given = [name for name in decided if getattr(arguments, name) not in (None, [], False)]
    if given:
        raise PruneGymError(
            f"--resume goes on with what the run was started with, so {given[0]!r} cannot be "
            "given with it. Only a new budget, --final-epochs and --quiet can."
        )
    config = run_folder.read_config(folder)
    if (folder / run_folder.BEST / "report.json").is_file():
        raise PruneGymError(
            f"{str(folder)!r} is finished: the test split was read for its report. Start a new run."
        )
    budget = limits(arguments)
    if all(value is None for value in budget.values()):
        budget = config["budget"]
    epochs = arguments.final_epochs
    epochs = config["final_epochs"] if epochs is None else epochs
    check_final_epochs(epochs)
    names = ("id", "env_arguments", "agent", "agent_options", "seed")
    return Plan(
        **{name: config[name] for name in names}, budget=budget, final_epochs=epochs
    ), config


def limits(arguments: argparse.Namespace) -> dict[str, Any]:
    """The budget's limits that the command line gives."""
    macs, minutes = arguments.search_macs, arguments.minutes
    return {
        "episodes": arguments.episodes,
        "steps": arguments.steps,
        "search_macs": None if macs is None else int(macs),
        "seconds": None if minutes is None else minutes * 60,
    }


def check_final_epochs(epochs: float) -> None:
    """Refuse an option that could only fail after the search.

    Raises:
        PruneGymError: Not finite, negative or absurd.
    """
    if not 0 <= epochs < 10_000:
        raise PruneGymError(f"--final-epochs {epochs} must be 0 to 10,000")


def hyperparameters(agent: str) -> list[str]:
    """The names that ``--set`` takes for an agent."""
    import inspect
    from dataclasses import fields, is_dataclass

    import agents

    kind = agents.lookup(agent)
    names = [name for name in inspect.signature(kind.__init__).parameters]
    options = getattr(kind, "Options", None)
    if is_dataclass(options):
        names += [field.name for field in fields(options)]
    return [name for name in names if name not in ("self", "env", "seed", "options")]
