"""What runs and records look like, as JSON Schemas: whatever figures and replays read of them."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from prune_gym.costs import OBJECTIVES, Costs
from prune_gym.errors import PruneGymError

Schema = dict[str, Any]

LARGEST = 1e30
"""No figure of a run comes near it."""
SHOWN = 40


def table(needed: Mapping[str, Schema], more: Mapping[str, Schema] | None = None) -> Schema:
    """An object with properties that must be there, and others that may."""
    return {"type": "object", "required": list(needed), "properties": {**needed, **(more or {})}}


def each(value: Schema) -> Schema:
    """An object whose properties are all of one kind."""
    return {"type": "object", "additionalProperties": value}


def listed(value: Schema) -> Schema:
    """A list of one kind."""
    return {"type": "array", "items": value}


TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
ANY: Schema = {"type": "object"}
NUMBER: Schema = {"type": "number", "minimum": -LARGEST, "maximum": LARGEST}
POSITIVE: Schema = {"type": "number", "exclusiveMinimum": 0, "maximum": LARGEST}
AMOUNT: Schema = {"type": "number", "minimum": 0, "maximum": LARGEST}
COUNT: Schema = {"type": "integer", "minimum": 0, "maximum": LARGEST}
SEED: Schema = {"type": "integer", "minimum": 0, "exclusiveMaximum": 2**63}
SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}

_COSTS = dict.fromkeys(("params", "macs", "cycles", "latency_ms", "energy_uj"), POSITIVE)
_ALL_COSTS = dict.fromkeys((field.name for field in fields(Costs)), POSITIVE)
_SEARCH = {"search_macs_total": COUNT, "wall_seconds": AMOUNT, "device_seconds": AMOUNT}

CONFIG = table(
    {
        "id": TEXT,
        "env_arguments": ANY,
        "agent": TEXT,
        "agent_options": ANY,
        "seed": SEED,
        "budget": each({"type": ["number", "null"]}),
        "final_epochs": AMOUNT,
        "env_revision": COUNT,
        "threads": COUNT,
        "hashes": table(dict.fromkeys(("weights", "dataset", "accelerator"), TEXT)),
        "versions": each(TEXT),
        "machine": ANY,
        "command": listed(TEXT),
    }
)
STEP = table(
    {
        "space": TEXT,
        "kept": listed(COUNT),
        "duration": SHARE,
        "accuracy": SHARE,
        "rewards": {**table({"psi": NUMBER}), **each(NUMBER)},
        **_COSTS,
    },
    {"seed": SEED, "sparsity": SHARE, "codes": COUNT},
)
EPISODE = table(
    {
        "episode": COUNT,
        "seed": SEED,
        "complete": FLAG,
        "best": FLAG,
        "target_met": FLAG,
        "score": NUMBER,
        "accuracy": SHARE,
        "params_ratio": POSITIVE,
        "macs_ratio": POSITIVE,
        "cost_ratio": POSITIVE,
        "search_macs": COUNT,
        "trials": COUNT,
        "steps": listed(STEP),
        **_COSTS,
        **_SEARCH,
    }
)
REPORT = table(
    {
        "dataset": TEXT,
        "architecture": TEXT,
        "objective": {"enum": list(OBJECTIVES)},
        "accelerator": TEXT,
        "channels": each({**listed(COUNT), "minItems": 2, "maxItems": 2}),
        "accuracy": table(
            {
                "validation": table(dict.fromkeys(("unpruned", "after_search", "final"), SHARE)),
                "test": table(dict.fromkeys(("unpruned", "final"), SHARE)),
            }
        ),
        "ratios": {**table(_ALL_COSTS), "additionalProperties": False},
        "costs": table(dict.fromkeys(("unpruned", "final"), table(_ALL_COSTS))),
        "final_epochs": AMOUNT,
        "search": table({"episodes": COUNT, "trials": COUNT, **_SEARCH}),
    },
    {
        "accelerator_batch": COUNT,
        "target": table({"wanted": each(NUMBER), "reached": each(NUMBER), "met": FLAG}),
    },
)
SCRATCH = table({"validation_accuracy": SHARE, "test_accuracy": SHARE})
RECORD = table(
    {"task": TEXT, "task_version": COUNT, "config": ANY, "episodes": listed(ANY)},
    {"report": {"type": ["object", "null"]}, "scratch": {"type": ["object", "null"]}},
)
MARK = table({"task": TEXT, "version": COUNT})
_WHOLE = (CONFIG, EPISODE, REPORT, SCRATCH, RECORD, MARK)
_VALIDATORS = {id(s): Draft202012Validator(s) for s in _WHOLE}


def check(value: Any, schema: Schema, where: str) -> None:
    """Hold a value against one of this module's schemas.

    Args:
        value: From a JSON file.
        schema: One of those for whole values, :data:`CONFIG` to :data:`MARK`.
        where: File and line, for the error.

    Raises:
        PruneGymError: It is not of that form; the message names place and value.
    """
    errors = sorted(_VALIDATORS[id(schema)].iter_errors(value), key=lambda e: len(e.absolute_path))
    if errors:
        raise PruneGymError(
            f"{where}: {_told(errors[0])}: another version wrote it, or it was edited. Run it "
            "again, or leave it out."
        )


def _told(error: ValidationError) -> str:
    name = ".".join(map(str, error.absolute_path))
    if error.validator == "required":
        needed: Any = error.validator_value
        missing = [each for each in needed if each not in cast(Any, error.instance)]
        return f"{name or 'it'} lacks {', '.join(missing)}"
    value = repr(error.instance)
    value = value if len(value) <= SHOWN else value[:SHOWN] + "..."
    wanted = f"{error.validator} {error.validator_value}".replace("'", "")
    return f"{name}={value} is not what it must be ({wanted})"
