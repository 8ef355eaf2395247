"""The table of the agents' capabilities, made from their classes.

``python -m agents.table FILE`` writes it between the two marks in a Markdown file.
"""

import argparse
from pathlib import Path

import agents
from prune_gym.errors import PruneGymError
from prune_gym.files import write_atomically

BEGIN = "<!-- table of agents: written by `python -m agents.table docs/agents.md` -->"
END = "<!-- end of the table -->"
_FLAGS = ("vector env", "masks padding", "needs features", "ALF mode")
COLUMNS = ("agent", "learns on", *_FLAGS, "extra")


def rows(own: bool = False) -> list[dict[str, str]]:
    """Return one row, by ``COLUMNS``, for each agent of :func:`agents.names`.

    For an agent of another package that cannot be imported, all but the name is "?".

    Args:
        own: Whether to leave out the agents of other packages.
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
        yes = ["yes" if flag else "no" for flag in flags]
        cells = [name, kind.action_form, *yes, kind.extra or ""]
        result.append(dict(zip(COLUMNS, cells, strict=True)))
    return result


def markdown() -> str:
    """Return the table of this package's agents as Markdown."""
    lines = [list(COLUMNS), ["---"] * len(COLUMNS)]
    for row in rows(own=True):
        code = {"agent": row["agent"], "learns on": row["learns on"], "extra": row["extra"]}
        row |= {column: f"`{text}`" if text else "" for column, text in code.items()}
        lines.append([row[column] for column in COLUMNS])
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def inserted(text: str) -> str:
    """Insert the table of this package's agents between the marks of a Markdown text.

    Args:
        text: The text.

    Returns:
        The text with the table.

    Raises:
        ValueError: A mark is missing.
    """
    if BEGIN not in text or END not in text:
        raise ValueError(f"the text has no lines {BEGIN!r} and {END!r}")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n\n{markdown()}\n{END}{after}"


if __name__ == "__main__":
    about = "Write the table of the agents between the two marks in a Markdown file."
    parser = argparse.ArgumentParser("python -m agents.table", description=about)
    parser.add_argument("file", type=Path, help="the file, such as docs/agents.md")
    path: Path = parser.parse_args().file
    text = inserted(path.read_text(encoding="utf-8"))
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
