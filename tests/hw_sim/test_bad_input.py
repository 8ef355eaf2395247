"""Invalid input is rejected with a message that names the field and the value."""

import pickle
from dataclasses import fields, replace
from pathlib import Path

import pytest
import yaml

from hw_sim import Accelerator, ConvLayer, Mapping, evaluate, presets, search

EYERISS = Accelerator.preset("eyeriss")
LAYER = ConvLayer("conv", 1, 4, 8, 16, 16, (3, 3), padding=1)
GOOD = Mapping(m=8, n=1, e=8, p=4, q=4, r=1, t=2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": 0}, "batch=0"),
        ({"in_channels": -4}, "in_channels=-4"),
        ({"out_channels": 2.0}, "out_channels=2.0"),
        ({"in_height": True}, "in_height=True"),
        ({"stride": 0}, "stride=0"),
        ({"padding": -1}, "padding=-1"),
        ({"groups": 0}, "groups=0"),
        ({"groups": 3}, "groups=3 does not divide in_channels=4"),
        ({"in_channels": 12, "groups": 3}, "groups=3 does not divide out_channels=8"),
        ({"kernel": (19, 3)}, r"kernel=\(19, 3\) is larger than the padded input \(18, 18\)"),
        ({"kernel": (0, 3)}, "kernel=0"),
        ({"kernel": 3}, "kernel=3 is not a pair"),
        ({"ifmap_zeros_per_10000": 10_001}, "ifmap_zeros_per_10000=10001"),
    ],
)
def test_bad_layer(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(LAYER, **change)


def test_unknown_objective() -> None:
    with pytest.raises(ValueError, match=r"'speed'\. Known: latency, energy, edp"):
        search(LAYER, EYERISS, "speed")


def test_layer_that_fits_no_mapping() -> None:
    wide = replace(LAYER, name="wide", in_width=40, kernel=(3, 13))
    with pytest.raises(ValueError, match=r"'wide'.*q\*S >= 13 exceeds ifmap_pad_words = 12"):
        search(wide, EYERISS)
    long = replace(LAYER, name="long", in_width=60_000)
    with pytest.raises(ValueError, match=r"'long'.*in_width=60000.*buffer_banks = 25"):
        search(long, EYERISS)


@pytest.mark.parametrize("objective", ["latency", "edp"])
@pytest.mark.parametrize("accelerator", [EYERISS, Accelerator.preset("tpu_like")])
def test_overflow_of_int64_is_refused(accelerator: Accelerator, objective: str) -> None:
    huge = replace(LAYER, in_channels=4 * 10**8, out_channels=10**8)
    with pytest.raises(ValueError, match=f"macs={huge.macs} could overflow int64"):
        search(huge, accelerator, objective)
    with pytest.raises(ValueError, match="could overflow int64"):
        evaluate(huge, accelerator, GOOD)


def test_largest_counts_that_are_let_through_do_not_wrap() -> None:
    """Just below the limit, energy still equals the sum computed with unbounded integers."""
    channels, refused = 64, False
    while not refused:
        layer = replace(LAYER, in_channels=channels, out_channels=channels)
        try:
            cost = search(layer, EYERISS, "edp")
            channels *= 2
        except ValueError:
            refused = True
    parts = [energy for level in cost.energy_by_level_fj.values() for energy in level.values()]
    assert min(parts) >= 0
    assert sum(parts) == cost.energy_fj > 2**50
    assert cost.cycles >= cost.layer.macs / EYERISS.pes


def test_kernel_taller_than_the_array_is_folded_and_flagged() -> None:
    tall = replace(LAYER, in_height=30, kernel=(13, 3))
    cost = search(tall, EYERISS)
    assert cost.folded
    assert not search(LAYER, EYERISS).folded
    assert cost.counts["mac"]["mac"] == tall.macs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"e": 0}, "e=0"),
        ({"n": 1.5}, "n=1.5"),
        ({"m": 8 * 10**30}, "m=8000000000000000000000000000000 must be"),
        ({"e": 17}, "e=17 exceeds the 16 output rows"),
        ({"n": 2}, "n=2 exceeds the batch of 1"),
        ({"m": 12}, r"m=12 is not a multiple of p\*t=8"),
        ({"dram_order": "ENM"}, "dram_order='ENM'"),
        ({"r": 5}, r"PE sets r\*t = 10 exceeds the sets that the array holds = 4"),
        ({"q": 5}, r"q\*S = 15 exceeds ifmap_pad_words = 12"),
        ({"p": 20, "m": 40}, r"p\*q\*S = 240 exceeds filter_pad_words = 224"),
        ({"p": 25, "q": 1, "m": 50}, "p = 25 exceeds psum_pad_words = 24"),
    ],
)
def test_infeasible_mapping_names_the_constraint(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(LAYER, EYERISS, GOOD._replace(**change))


def test_mapping_beyond_the_buffer_is_refused() -> None:
    layer = replace(LAYER, out_channels=512, in_height=30, in_width=30)
    with pytest.raises(ValueError, match=r"banks of ifmaps and psums = 61 exceeds buffer_banks"):
        evaluate(layer, EYERISS, GOOD._replace(m=512))


def values(name: str = "eyeriss") -> dict:
    accelerator = Accelerator.preset(name)
    found = {f.name: getattr(accelerator, f.name) for f in fields(accelerator)}
    if found["dram_words_per_cycle"] is None:
        found["dram_words_per_cycle"] = "unlimited"
    return found


def written(path: Path, content: object) -> Path:
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", presets())
def test_preset_survives_a_file_a_pickle_and_its_fingerprint(name: str, tmp_path: Path) -> None:
    preset = Accelerator.preset(name)
    again = Accelerator.from_yaml(written(tmp_path / "a.yaml", values(name)))
    assert again == preset
    assert hash(again) == hash(preset)
    assert pickle.loads(pickle.dumps(preset)) == preset
    assert preset.name == name
    assert again.fingerprint == preset.fingerprint
    assert len(preset.fingerprint) == 64


def test_fingerprint_changes_with_every_value() -> None:
    prints = {EYERISS.fingerprint}
    for field in fields(Accelerator):
        value = getattr(EYERISS, field.name)
        if isinstance(value, str):
            other: object = "systolic"
        elif isinstance(value, bool):
            other = not value
        else:
            other = (value or 0) + 1
        prints.add(replace(EYERISS, **{field.name: other}).fingerprint)
    assert len(prints) == 1 + len(fields(Accelerator))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"array_rows": 0}, "array_rows=0 must be between 1"),
        ({"array_rows": -12}, "array_rows=-12"),
        ({"buffer_banks": 10**10}, "buffer_banks=10000000000"),
        ({"clock_mhz": 0.2}, "clock_mhz=0.2"),
        ({"clock_mhz": "200 MHz"}, "clock_mhz='200 MHz'"),
        ({"word_bits": True}, "word_bits=True"),
        ({"fill_and_drain": 1}, "fill_and_drain=1 must be true or false"),
        ({"dram_words_per_cycle": 0}, "dram_words_per_cycle=0"),
        ({"dram_words_per_cycle": None}, "dram_words_per_cycle is empty"),
        ({"dram_fj": -1}, "dram_fj=-1"),
        ({"dataflow": "magic"}, "dataflow='magic'"),
        ({"name": ""}, "name=''"),
        ({"array_row": 12}, "unknown key array_row"),
        ({"word_bits": 65_536}, "word_bits=65536 exceeds a bank"),
    ],
)
def test_bad_accelerator_file(change: dict, message: str, tmp_path: Path) -> None:
    path = written(tmp_path / "bad.yaml", values() | change)
    with pytest.raises(ValueError, match=message) as error:
        Accelerator.from_yaml(path)
    assert "bad.yaml" in str(error.value)


def test_accelerator_file_with_a_missing_key(tmp_path: Path) -> None:
    content = values()
    del content["psum_pad_words"]
    with pytest.raises(ValueError, match="missing key psum_pad_words"):
        Accelerator.from_yaml(written(tmp_path / "a.yaml", content))


@pytest.mark.parametrize("text", ["", "- 1\n- 2\n", "a: [", "name: x\nname: y\n", "\x00"])
def test_accelerator_file_that_is_no_flat_mapping(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"a\.yaml"):
        Accelerator.from_yaml(path)


def test_unknown_preset_and_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'eyeris'\. Known: eyeriss, eyeriss_256"):
        Accelerator.preset("eyeris")
    with pytest.raises(FileNotFoundError):
        Accelerator.from_yaml(tmp_path / "none.yaml")
