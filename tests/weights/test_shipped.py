"""Weights and architectures that come inside the package."""

import hashlib
from dataclasses import replace

import pytest

from ovseg.cli.check import findings
from ovseg.cli.main import main
from ovseg.errors import WeightsError
from ovseg.weights import shipped, zoo
from ovseg.weights.fetch import fetch
from ovseg.weights.parts import published_name
from ovseg.weights.shipped import architecture_file
from ovseg.weights.zoo import ZOO

# The smallest file of safetensors: the length of an empty header, and the header.
WHOLE = (2).to_bytes(8, "little") + b"{}"


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Where toyworld_dino is looked for; nothing is there yet."""
    path = tmp_path / "inside" / "toyworld_dino.safetensors"
    path.parent.mkdir()
    monkeypatch.setitem(ZOO, "toyworld_dino", replace(ZOO["toyworld_dino"], shipped=path))
    monkeypatch.setenv("OVSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OVSEG_MIRROR", str(tmp_path))  # which has nothing, and which nobody asks
    return path


def test_they_are_found_without_cache_mirror_or_network(file):
    file.write_bytes(WHOLE)
    assert fetch("toyworld_dino") == file
    entry = ZOO["toyworld_dino"]
    assert (entry.size, entry.sha256) == (10, hashlib.sha256(WHOLE).hexdigest())


def test_a_file_that_is_missing_is_a_broken_installation(file, capsys):
    assert zoo.locate(ZOO["toyworld_dino"]) is None
    assert (ZOO["toyworld_dino"].size, ZOO["toyworld_dino"].sha256) == (None, None)
    with pytest.raises(WeightsError) as error:
        fetch("toyworld_dino")
    assert str(error.value).startswith(
        f"The weights 'toyworld_dino' come with ovseg, but {file} is not there: this installation is not "
    )
    assert "pip install --force-reinstall ovseg" in str(error.value)
    assert main(["download", "toyworld_dino"]) == 1
    assert "come with ovseg" in capsys.readouterr().err


def said(level):
    return [one for one in findings("weights") if one.level == level and "toyworld_dino" in one.text]


def test_the_check_knows_them(file):
    (missing,) = said("fault")
    assert missing.text == f"toyworld_dino comes with ovseg, but {file} is not there."
    file.write_bytes(WHOLE[:9])
    (damaged,) = said("fault")
    assert damaged.remedy == missing.remedy == "pip install --force-reinstall ovseg"
    file.write_bytes(WHOLE)
    (sound,) = said("ok")
    assert sound.text == "toyworld_dino: comes with ovseg, 10 B"


def test_asked_for_they_are_there_already(file, capsys):
    file.write_bytes(WHOLE)
    assert main(["download", "toyworld_dino"]) == 0
    assert capsys.readouterr() == (f"{file}\n", "ovseg: 'toyworld_dino' comes with ovseg\n")


@pytest.mark.parametrize("name", [name for name, entry in ZOO.items() if entry.shipped])
def test_a_part_may_name_them(name):
    assert name.startswith("toyworld_")
    assert published_name(name, name) == name


def test_architectures_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    (tmp_path / "small.json").touch()
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "small.json").touch()
    assert architecture_file("small") == tmp_path / "small.json"
    assert architecture_file("small.json") is None
    assert architecture_file("smaller") is None
    assert architecture_file("deep/small") is None
