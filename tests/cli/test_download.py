"""``ovseg download`` against a mirror on this machine."""

import json

import pytest
from helpers.file_server import file_server

from ovseg.cli.main import main
from ovseg.weights import zoo


def weights() -> bytes:
    header = json.dumps({"a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(4)


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("OVSEG_CACHE", str(tmp_path))
    with file_server() as running:
        monkeypatch.setenv("OVSEG_MIRROR", running.url)
        yield running


def test_prints_the_path_of_each(server, tmp_path, capsys):
    server.files = {"/fcclip.pth": weights(), "/RN50.openai.safetensors": weights()}
    assert main(["download", "fcclip", "RN50:openai"]) == 0
    expected = [str(tmp_path / "weights" / name) for name in ("fcclip.pth", "RN50.openai.safetensors")]
    assert capsys.readouterr().out.splitlines() == expected
    assert main(["download", "fcclip"]) == 0
    assert len(server.sent) == 2, "what is there is not fetched again"


def test_a_model_stands_for_what_its_parts_need(server, capsys):
    clip = "/ViT-B-16.openai.safetensors"
    server.files = {clip: weights(), "/sam_vit_b_01ec64.pth": weights()}
    assert main(["download", "trident", "trident_coarse"]) == 1, "DINO is not on this server"
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 2
    assert "1 of 3 not fetched: dino_vitb16" in printed.err


def test_goes_on_after_a_failure(server, tmp_path, capsys):
    server.files = {"/fcclip_r50.pth": weights()}
    assert main(["download", "fcclip", "fcclip_r50"]) == 1
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [str(tmp_path / "weights" / "fcclip_r50.pth")]
    assert "ovseg: 'fcclip' could not be downloaded: the server has no such file" in printed.err
    assert printed.err.endswith("ovseg: 1 of 2 not fetched: fcclip\n")


def test_a_misspelt_name_is_said_before_anything_is_fetched(server, capsys):
    server.files = {"/fcclip.pth": weights()}
    assert main(["download", "fcclip", "fcclip_r5"]) == 1
    assert "Did you mean 'fcclip_r50'?" in capsys.readouterr().err
    assert server.sent == []


def test_all_and_list(server, monkeypatch, capsys):
    monkeypatch.setattr(zoo, "ZOO", {"fcclip": zoo.ZOO["fcclip"]})
    server.files = {"/fcclip.pth": weights()}
    assert main(["download", "--list"]) == 0
    assert server.sent == []
    before = capsys.readouterr().out.splitlines()
    assert before[2].split()[:2] == ["fcclip", "no"]
    assert main(["download", "--all"]) == 0
    capsys.readouterr()
    assert main(["download", "--list"]) == 0
    assert capsys.readouterr().out.splitlines()[2].split()[:2] == ["fcclip", "yes"]


def test_nothing_asked_for(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["download"])
    assert stop.value.code == 2
    assert (
        "name what to fetch (ovseg download --list shows what there is), or give --all"
        in capsys.readouterr().err
    )
