"""The table of what each agent takes, made from the agents' own classes.

``python -m agents.table FILE`` writes it between the two marks of a Markdown file.
"""

import sys
from pathlib import Path

import agents
from prune_gym.errors import PruneGymError
from prune_gym.files import write_atomically

BEGIN = "<!-- table of agents: written by `python -m agents.table docs/agents.md` -->"
END = "<!-- end of the table -->"
COLUMNS = (
    "agent",
    "learns on",
    "vector env",
    "masks padding",
    "needs features",
    "ALF mode",
    "extra",
)


def rows(own: bool = False) -> list[dict[str, str]]:
    """One row for each agent of :func:`agents.names`, by ``COLUMNS``.

    An agent of another package that cannot be imported is named, and the rest is "?".

    Args:
        own: Only the agents of this package.
    """
    result = []
    for name in agents.names(own):
        try:
            kind = agents.lookup(name)
        except PruneGymError:
            result.append({"agent": name} | dict.fromkeys(COLUMNS[1:], "?"))
            continue
        alf = "alf" in kind.action_modes
        flags = (kind.vector_env, kind.masks_padding, kind.needs_features, alf)
        cells = (
            name,
            kind.action_form,
            *("yes" if flag else "no" for flag in flags),
            kind.extra or "",
        )
        result.append(dict(zip(COLUMNS, cells, strict=True)))
    return result


def markdown(own: bool = False) -> str:
    """The table as Markdown; its lines end with a line break.

    Args:
        own: Only the agents of this package.
    """
    lines = [list(COLUMNS), ["---"] * len(COLUMNS)]
    for row in rows(own):
        code = {"agent": row["agent"], "learns on": row["learns on"], "extra": row["extra"]}
        row |= {column: f"`{text}`" if text else "" for column, text in code.items()}
        lines.append([row[column] for column in COLUMNS])
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def inserted(text: str) -> str:
    """A Markdown text with the table of this package's agents between its marks.

    Raises:
        ValueError: The marks are missing.
    """
    if BEGIN not in text or END not in text:
        raise ValueError(f"the text has no lines {BEGIN!r} and {END!r}")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{markdown(own=True)}\n{END}{after}"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    text = inserted(path.read_text(encoding="utf-8"))
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
