"""Description of an accelerator: one flat, strictly validated set of numbers."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

DATAFLOWS = ("row_stationary", "systolic", "broadcast")
"""Supported dataflows; the last two are weight stationary."""

UNLIMITED = "unlimited"
"""Value of ``dram_words_per_cycle`` in a YAML file for unlimited DRAM bandwidth."""

LARGEST = 10**9
"""Upper limit of every field; a larger value is a typing error."""

_MAY_BE_ZERO = ("pass_overhead_cycles", "static_power_uw")


@dataclass(frozen=True)
class Accelerator:
    """An accelerator; its fields are all constants of the cost model.

    Args:
        name: Name of the accelerator in reports.
        dataflow: ``"row_stationary"``, ``"systolic"`` (weights stay in the PEs, operands move from
            PE to PE) or ``"broadcast"`` (weights stay in the PEs, each operand reaches all PEs in
            the same cycle).
        array_rows: Rows of PEs.
        array_columns: Columns of PEs.
        clock_mhz: Clock frequency in MHz.
        word_bits: Bits per word, the same for all operands.
        ifmap_pad_words: Ifmap words that a PE stores. This and the other two pads limit only
            row-stationary mappings; a weight-stationary PE stores one word per operand.
        filter_pad_words: Filter words that a PE stores.
        psum_pad_words: Partial sums that a PE stores.
        buffer_banks: Banks of the buffer; each stores either ifmaps or psums.
        buffer_bank_bytes: Size of a bank in bytes.
        filter_buffer_bytes: Size of the filter buffer, which keeps filters between passes.
        ifmap_port_words_per_cycle: Ifmap words per cycle from the buffer to the array.
        filter_port_words_per_cycle: Filter words per cycle to the array.
        psum_port_words_per_cycle: Psums per cycle, read and written at the same time.
        dram_words_per_cycle: DRAM bandwidth; None for unlimited.
        fill_and_drain: Whether to count the first load and the last store.
        filter_load_overlaps: Whether a pass loads its filters while the previous pass computes.
        pass_overhead_cycles: Additional cycles per pass.
        mac_fj: Energy per MAC.
        rf_ifmap_fj: Energy per access to an ifmap word in a PE.
        rf_filter_fj: Energy per access to a filter word in a PE.
        rf_psum_fj: Energy per access to a psum in a PE.
        noc_fj: Energy per word delivered to one PE, or moved from one PE to the next.
        buffer_fj: Energy per access to a buffer word.
        dram_fj: Energy per access to a DRAM word, including the transfer to or from the buffer.
        static_power_uw: Constant power (clock tree, leakage).

    Raises:
        ValueError: If a field has the wrong type, is zero or negative, or exceeds
            :data:`LARGEST`. The message names the field.
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
        """Return one of the accelerators that ship with the package.

        Args:
            name: One of :func:`presets`.

        Raises:
            ValueError: If no preset has this name.
        """
        return _preset(name)

    @classmethod
    def from_yaml(cls, path: str | Path) -> "Accelerator":
        """Read an accelerator from a flat YAML file with exactly the fields of this class.

        Args:
            path: Path of the file.

        Raises:
            ValueError: If the file is not a flat YAML mapping, a key is unknown or missing, or a
                value is invalid.
            OSError: If the file cannot be read.
        """
        try:
            with Path(path).open("rb") as file:
                data = file.read(MOST_BYTES + 1)
            if len(data) > MOST_BYTES:
                raise ValueError(f"the file is larger than {MOST_BYTES} bytes.")
            return _from_values(yaml.load(data.decode("utf-8"), _StrictLoader))
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise ValueError(f"Accelerator file {str(path)!r}: {error}") from error

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all values, in hex; equal accelerators have equal fingerprints."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def pes(self) -> int:
        """Number of PEs."""
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


MOST_BYTES = 1 << 16
"""Largest accelerator file; those of the package have about 1,000 bytes."""
SHOWN = 80
"""Characters of a bad value that an error shows."""


class _StrictLoader(yaml.SafeLoader):
    """A safe loader that rejects duplicate keys and aliases, which may grow without bound."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise ValueError("aliases (*name) are not allowed; write the value.")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        names: set[str] = set()
        for key in keys:
            if not isinstance(key, str):
                raise ValueError(f"key {str(key)[:SHOWN]!r} is not a name.")
            if key in names:
                raise ValueError(f"key {key[:SHOWN]!r} occurs twice.")
            names.add(key)
        return super().construct_mapping(node, deep)


def _from_values(values: object) -> Accelerator:
    if not isinstance(values, dict):
        raise ValueError("the file must be a flat mapping of keys to numbers.")
    known = [field.name for field in fields(Accelerator)]
    unknown = [str(key) for key in values if key not in known]
    if unknown:
        raise ValueError(f"unknown key {', '.join(unknown)[:SHOWN]}. Known: {', '.join(known)}.")
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
        raise ValueError(f"{name}={repr(value)[:SHOWN]} must be an integer.")
    if not least <= value <= LARGEST:
        raise ValueError(f"{name}={value} must be between {least} and {LARGEST}.")
