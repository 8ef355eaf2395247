"""Accelerator files that would take memory or time without bound are refused."""

import pytest

from hw_sim import Accelerator


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "aliases"),
        ("".join(f"key{number}: 1\n" for number in range(40_000)), "larger than 65536 bytes"),
        ("".join(f"key{number}: 1\n" for number in range(4_000)), "unknown key"),
        ("[" * 5_000, "chip.yaml"),
        ("? [a]\n: 1\n", "chip.yaml"),
        ("1: 2\n", "not a name"),
        ("array_rows: " + "9" * 5_000 + "\n", "chip.yaml"),
        ("array_rows: \xff\n", "chip.yaml"),
    ],
)
def test_bombs_and_odd_files_are_refused_at_once(tmp_path, text, message):
    path = tmp_path / "chip.yaml"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=message) as error:
        Accelerator.from_yaml(path)
    assert len(str(error.value)) < 1_000
