"""The machine: an accelerator as one flat, strictly validated set of numbers."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

DATAFLOWS = ("row_stationary", "systolic", "broadcast")
"""Known dataflows; the last two are weight stationary."""

UNLIMITED = "unlimited"
"""What ``dram_words_per_cycle`` says where DRAM never waits."""

LARGEST = 10**9
"""No field of an accelerator may exceed this: beyond it lies a typing error, not a machine."""

_MAY_BE_ZERO = ("pass_overhead_cycles", "static_power_uw")


@dataclass(frozen=True)
class Accelerator:
    """An accelerator; every constant of the cost model is a field of it.

    Args:
        name: What reports call it.
        dataflow: ``"row_stationary"``, ``"systolic"`` (weights stay, operands march through the
            array) or ``"broadcast"`` (weights stay, operands reach all PEs at once).
        array_rows: Rows of PEs.
        array_columns: Columns of PEs.
        clock_mhz: Clock.
        word_bits: Bits of a word; all operands are as wide.
        ifmap_pad_words: Words of ifmap that a PE holds; like the other pads, a limit of
            row-stationary mappings alone (a weight-stationary PE works on one word of each).
        filter_pad_words: Words of filter that a PE holds.
        psum_pad_words: Partial sums that a PE holds.
        buffer_banks: Banks of the buffer; each holds either ifmaps or psums.
        buffer_bank_bytes: Size of a bank.
        filter_buffer_bytes: Size of the buffer of filters, which keeps them between passes.
        ifmap_port_words_per_cycle: Words that the buffer sends to the array.
        filter_port_words_per_cycle: Words of filters sent to the array.
        psum_port_words_per_cycle: Psums read, and at the same time written.
        dram_words_per_cycle: DRAM bandwidth, or None where DRAM never waits.
        fill_and_drain: Whether the first load and the last store are counted.
        filter_load_overlaps: Whether a pass loads its filters while the one before it computes.
        pass_overhead_cycles: Cycles that each pass loses besides.
        mac_fj: Energy of a MAC.
        rf_ifmap_fj: Energy of an access to a PE's ifmap words.
        rf_filter_fj: Energy of an access to a PE's filter words.
        rf_psum_fj: Energy of an access to a PE's psum words.
        noc_fj: Energy of a word's delivery to one PE, or hop from PE to PE.
        buffer_fj: Energy of an access to a word of the buffer.
        dram_fj: Energy of an access to a word of DRAM, its move into or out of the buffer included.
        static_power_uw: Power drawn all the time (clock tree, leakage).

    Raises:
        ValueError: A field of the wrong kind, zero, negative or absurdly large; named.
    """

    name: str
    dataflow: str
    array_rows: int
    array_columns: int
    clock_mhz: int
    word_bits: int
    ifmap_pad_words: int
    filter_pad_words: int
    psum_pad_words: int
    buffer_banks: int
    buffer_bank_bytes: int
    filter_buffer_bytes: int
    ifmap_port_words_per_cycle: int
    filter_port_words_per_cycle: int
    psum_port_words_per_cycle: int
    dram_words_per_cycle: int | None
    fill_and_drain: bool
    filter_load_overlaps: bool
    pass_overhead_cycles: int
    mac_fj: int
    rf_ifmap_fj: int
    rf_filter_fj: int
    rf_psum_fj: int
    noc_fj: int
    buffer_fj: int
    dram_fj: int
    static_power_uw: int

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(f"name={self.name!r} must be a non-empty string.")
        if self.dataflow not in DATAFLOWS:
            raise ValueError(
                f"dataflow={self.dataflow!r} is unknown. Known: {', '.join(DATAFLOWS)}."
            )
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type is bool and not isinstance(value, bool):
                raise ValueError(f"{field.name}={value!r} must be true or false.")
            if field.name == "dram_words_per_cycle" and value is None:
                continue
            if field.type is int or field.name == "dram_words_per_cycle":
                least = 0 if field.name.endswith("_fj") or field.name in _MAY_BE_ZERO else 1
                _check_int(field.name, value, least)
        bits = 8 * self.buffer_bank_bytes
        if self.word_bits > bits:
            raise ValueError(
                f"word_bits={self.word_bits} exceeds a bank of "
                f"buffer_bank_bytes={self.buffer_bank_bytes}."
            )

    @classmethod
    def preset(cls, name: str) -> "Accelerator":
        """One of the accelerators that ship with the package.

        Args:
            name: One of :func:`presets`.

        Raises:
            ValueError: No preset has this name.
        """
        return _preset(name)

    @classmethod
    def from_yaml(cls, path: str | Path) -> "Accelerator":
        """Read an accelerator from a flat YAML file with exactly the fields of this class.

        Args:
            path: The file.

        Raises:
            ValueError: The file is no flat YAML mapping, or a key is unknown, missing or wrong.
            OSError: The file cannot be read.
        """
        try:
            return _from_values(yaml.load(Path(path).read_text("utf-8"), _StrictLoader))
        except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
            raise ValueError(f"Accelerator file {str(path)!r}: {error}") from error

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over all values, in hex: equal for equal machines, on every computer."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def pes(self) -> int:
        """PEs of the array."""
        return self.array_rows * self.array_columns


def presets() -> tuple[str, ...]:
    """Names of the accelerators that ship with the package, sorted."""
    folder = resources.files("hw_sim") / "presets"
    names = (entry.name for entry in folder.iterdir())
    return tuple(sorted(name[:-5] for name in names if name.endswith(".yaml")))


@cache
def _preset(name: str) -> Accelerator:
    if name not in presets():
        raise ValueError(f"Unknown accelerator {name!r}. Known: {', '.join(presets())}.")
    with resources.as_file(resources.files("hw_sim") / "presets" / f"{name}.yaml") as path:
        return Accelerator.from_yaml(path)


class _StrictLoader(yaml.SafeLoader):
    """A safe loader that refuses a key written twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise ValueError(f"key {key!r} is there twice.")
        return super().construct_mapping(node, deep)


def _from_values(values: object) -> Accelerator:
    if not isinstance(values, dict):
        raise ValueError("it must be a flat mapping of keys to numbers.")
    known = [field.name for field in fields(Accelerator)]
    unknown = [str(key) for key in values if key not in known]
    if unknown:
        raise ValueError(f"unknown key {', '.join(unknown)}. Known: {', '.join(known)}.")
    missing = [key for key in known if key not in values]
    if missing:
        raise ValueError(f"missing key {', '.join(missing)}.")
    if values["dram_words_per_cycle"] is None:
        raise ValueError(f"dram_words_per_cycle is empty; write a number or {UNLIMITED!r}.")
    if values["dram_words_per_cycle"] == UNLIMITED:
        values = {**values, "dram_words_per_cycle": None}
    return Accelerator(**values)


def _check_int(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name}={value!r} must be an integer.")
    if not least <= value <= LARGEST:
        raise ValueError(f"{name}={value} must lie between {least} and {LARGEST}.")
