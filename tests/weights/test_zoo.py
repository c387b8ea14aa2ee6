"""The table of published weights, and how a name becomes a file."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ovseg.errors import WeightsError
from ovseg.weights import zoo
from ovseg.weights.fetch import fetch
from ovseg.weights.zoo import ZOO, find, locate, open_clip_weights, weights_folder

DRIVE_IDS = {
    "fcclip": "1-91PIns86vyNaL3CzMmDD39zKGnPMtvj",
    "fcclip_r50": "1tcB-8FNON-LwckXQbUyKcBA2G7TU65Zh",
    "fcclip_r101": "1P0mdgftReWzVbPQ0O0CSBfW3krHhTOj0",
    "fcclip_r50x4": "1nUpUsNUE22eOV9skxv9IyIkmCbg5jrIF",
    "fcclip_r50x16": "1rJu2UwwtI0VLDl9CyB8Mkgw9qHlnX70W",
    "fcclip_r50x64": "1rvfFVp5p3PZQsHp2NGVEBeYYcqgVVaZX",
}
CLIP_NAMES = [name for name in ZOO if ":" in name]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OVSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("OVSEG_MIRROR", raising=False)
    return tmp_path / "cache"


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def test_every_entry_is_complete():
    for name, entry in ZOO.items():
        assert entry.name == name
        assert all((entry.what, entry.licence))
        if entry.shipped is None:
            assert entry.source.startswith("https://")
            assert entry.remotes
        else:
            assert (entry.source, entry.remotes) == ("comes with ovseg", ())
            assert re.fullmatch(r"\w+\.safetensors", entry.shipped.name)
        for remote in entry.remotes:
            assert remote.url.startswith("https://")
            assert re.fullmatch(r"[\w.-]+\.(pth|safetensors|bin)", remote.file)
    files = [remote.file for entry in ZOO.values() for remote in entry.remotes]
    assert len(set(files)) == len(files)


@pytest.mark.parametrize("name", DRIVE_IDS)
def test_the_six_checkpoints_of_fcclip(name):
    entry = find(name)
    (remote,) = entry.remotes
    assert remote.url == (
        f"https://drive.usercontent.google.com/download?id={DRIVE_IDS[name]}&export=download&confirm=t"
    )
    assert remote.page == f"https://drive.google.com/file/d/{DRIVE_IDS[name]}/view"
    assert remote.file == f"{name}.pth"
    assert entry.licence == "Apache-2.0"


@pytest.mark.parametrize("name", CLIP_NAMES)
def test_the_clip_towers_are_where_open_clip_has_them(name):
    from open_clip import get_pretrained_cfg
    from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME

    repo = get_pretrained_cfg(*name.split(":"))["hf_hub"].rstrip("/")
    assert [remote.url for remote in ZOO[name].remotes] == [
        f"https://huggingface.co/{repo}/resolve/main/{file}"
        for file in (HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME)
    ]


def test_any_pair_of_open_clip_is_known():
    entry = find("ViT-B-32:openai")
    assert entry == open_clip_weights("ViT-B-32", "openai")
    assert entry.remotes[0].url.endswith(
        "timm/vit_base_patch32_clip_224.openai/resolve/main/open_clip_model.safetensors"
    )
    assert entry.remotes[0].file == "ViT-B-32.openai.safetensors"
    assert entry.licence == "see its page"
    assert open_clip_weights("RN50", "openai") is ZOO["RN50:openai"]


def test_a_pair_with_a_file_name_of_its_own():
    urls = [remote.url for remote in open_clip_weights("ViTamin-S", "datacomp1b").remotes]
    base = "https://huggingface.co/jienengchen/ViTamin-S/resolve/main/pytorch_model"
    assert urls == [f"{base}.safetensors", f"{base}.bin"]


def test_a_pair_that_open_clip_does_not_have():
    with pytest.raises(WeightsError) as error:
        find("RN50:opena")
    text = str(error.value)
    assert text.startswith(
        "open_clip has no weights 'RN50:opena' on the Hugging Face hub. Did you mean 'RN50:openai'?"
    )
    assert "Tags of RN50: RN50:openai, RN50:yfcc15m" in text
    with pytest.raises(WeightsError, match="Type architecture:tag, as in"):
        find("foo:bar")


def test_an_existing_path_is_itself(tmp_path, monkeypatch):
    path = put(tmp_path / "my.pth")
    assert fetch(path) == path
    assert fetch(str(path)) == path
    monkeypatch.setenv("HOME", str(tmp_path))
    assert fetch("~/my.pth") == path


def test_a_folder_of_that_name_does_not_hide_the_weights(tmp_path, monkeypatch, cache):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fcclip").mkdir()
    stored = put(cache / "weights" / "fcclip.pth")
    assert fetch("fcclip") == stored


@pytest.mark.parametrize("given", ["fclip", "models/fclip.pth"])
def test_an_unknown_name(given):
    with pytest.raises(WeightsError) as error:
        fetch(given)
    text = str(error.value)
    assert f"There is no weights file {Path(given).absolute()}, and no weights are named '{given}'." in text
    assert ("Did you mean 'fcclip'?" in text) == (given == "fclip")
    assert "Give the path of an existing .pth or .safetensors file, or one of: fcclip, fcclip_r50, " in text


def test_what_is_in_the_cache_is_used_without_network(cache):
    assert locate(find("fcclip")) is None
    stored = put(cache / "weights" / "fcclip.pth")
    assert locate(find("fcclip")) == fetch("fcclip") == stored
    fallback = put(cache / "weights" / "RN50.openai.bin")
    assert fetch("RN50:openai") == fallback
    preferred = put(cache / "weights" / "RN50.openai.safetensors")
    assert fetch("RN50:openai") == preferred


def test_a_folder_as_mirror_is_used_in_place(tmp_path, monkeypatch, cache):
    monkeypatch.setenv("OVSEG_MIRROR", str(tmp_path / "shared"))
    cached = put(cache / "weights" / "fcclip.pth")
    assert fetch("fcclip") == cached
    shared = put(tmp_path / "shared" / "fcclip.pth")
    assert fetch("fcclip") == shared


def test_a_folder_as_mirror_means_that_there_is_no_network(tmp_path, monkeypatch):
    monkeypatch.setenv("OVSEG_MIRROR", str(tmp_path / "shared"))
    with pytest.raises(WeightsError) as error:
        fetch("fcclip")
    assert f"the mirror {tmp_path / 'shared'} has no fcclip.pth" in str(error.value)
    assert "To fetch it by hand, open https://drive.google.com/file/d/" in str(error.value)


def test_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("OVSEG_CACHE", "~/elsewhere")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert weights_folder() == tmp_path / "elsewhere" / "weights"
    monkeypatch.delenv("OVSEG_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert weights_folder().parts[-2:] == ("ovseg", "weights")


def test_names_and_downloads_need_no_torch():
    code = "import sys, ovseg.weights.zoo, ovseg.weights.download; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_listed_names_are_found_without_open_clip(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    assert [zoo.find(name).name for name in ZOO] == list(ZOO)
