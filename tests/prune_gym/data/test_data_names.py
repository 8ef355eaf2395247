import subprocess
import sys

import pytest
from PIL import Image

from prune_gym.data import contact_sheet, load_dataset, names
from prune_gym.errors import DataError, UnknownNameError


def test_names_are_listed():
    assert names() == ["shapes", "cifar10", "cifar10:PATH", "imagefolder:PATH"]


@pytest.mark.parametrize("name", ["shape", "", "mnist", "shapes:somewhere", "Shapes"])
def test_unknown_names(name):
    with pytest.raises(UnknownNameError, match=f"Unknown data set {name!r}.*Known: cifar10"):
        load_dataset(name)


def test_a_folder_is_given_once(tmp_path):
    with pytest.raises(DataError, match="pass only one"):
        load_dataset(f"cifar10:{tmp_path}", root=tmp_path)
    with pytest.raises(DataError, match="has no folder; remove root="):
        load_dataset("shapes", root=tmp_path)


@pytest.mark.parametrize("seed", [-1, 0.5, "0", True])
def test_bad_seeds(seed):
    with pytest.raises(DataError, match=f"not {seed!r}"):
        load_dataset("shapes", seed=seed)


def test_home_folder_is_looked_up_at_every_call(data_home, image_folder, monkeypatch):
    root = image_folder()
    one = load_dataset("imagefolder", root=root, image_size=8)
    assert load_dataset("imagefolder", root=str(root), image_size=8) is one
    monkeypatch.setenv("PRUNE_GYM_HOME", str(data_home / "other"))
    assert load_dataset("imagefolder", root=root, image_size=8) is not one
    assert list((data_home / "other" / "data").iterdir())


def test_contact_sheet(data_home, image_folder, tmp_path, capsys):
    out = tmp_path / "sheet.png"
    contact_sheet.main([f"imagefolder:{image_folder()}", str(out)])
    with Image.open(out) as sheet:
        assert sheet.size == (contact_sheet.NAMES + 8 * 68, 2 * 68)
        assert sheet.getpixel((contact_sheet.NAMES + 10, 68 + 10))[0] == 100
    with pytest.raises(SystemExit):
        contact_sheet.main(["mnist", str(out)])
    assert "Unknown data set 'mnist'" in capsys.readouterr().err


def test_torchvision_is_imported_late_and_beside_any_torch():
    code = (
        "import sys, prune_gym.data; assert 'torchvision' not in sys.modules\n"
        "from prune_gym import torchvision_import as _torchvision\n"
        "assert callable(_torchvision.dataset_utils().download_and_extract_archive)\n"
        "import torchvision.models, torchvision.transforms\n"
        "assert _torchvision.dataset_utils() is _torchvision.dataset_utils()"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)


def test_numba_is_imported_for_drawing_alone():
    code = "import sys, prune_gym.data; assert 'prune_gym.data._draw' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
