"""``ovseg check``: a sound installation passes, and each fault is said with what to do."""

import json
import re
import sys
from importlib.metadata import EntryPoint, PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
from helpers.dataset_files import SIZE, put_map, put_picture

from ovseg import plugins
from ovseg.cli.check import SECTIONS, findings
from ovseg.cli.checks import configs, environment
from ovseg.cli.main import main
from ovseg.config import config_groups
from ovseg.registry import REGISTRIES
from ovseg.weights.zoo import ZOO


@pytest.fixture(autouse=True)
def clean(tmp_path, monkeypatch):
    monkeypatch.setenv("OVSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("OVSEG_MIRROR", raising=False)
    monkeypatch.delenv("OVSEG_DATA", raising=False)
    monkeypatch.chdir(tmp_path)  # where no data set lies in the folder that is looked into by default


def found(section: str, level: str) -> list[tuple[str, str]]:
    return [(one.text, one.remedy) for one in findings(section) if one.level == level]


def fault(section: str) -> tuple[str, str]:
    (only,) = found(section, "fault")
    assert only[1], "a fault says what to do"
    return only


def test_every_section_is_sound_but_configs_which_have_a_test_of_their_own(capsys):
    sections = [section for section in SECTIONS if section != "configs"]
    assert main(["check", *sections]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if not line.startswith(" ")][:-1] == sections
    assert re.fullmatch(r"faults: 0, notes: \d+", printed[-1])
    assert any(re.match(r"  ok     packages: .*torch ", line) for line in printed)
    assert any(line.startswith("  note   not on disk: ade20k, ") for line in printed)


@pytest.mark.parametrize("group", sorted(config_groups()))
def test_configs_compose_and_fit_their_parts(group):
    faults = {option: configs._faults(group, option) for option in config_groups()[group]}
    assert faults == {option: [] for option in faults}


def test_configs_are_counted_by_group(monkeypatch):
    some = {group: options[:1] for group, options in config_groups().items()}
    monkeypatch.setattr(configs, "config_groups", lambda: some)
    assert [(one.level, one.text) for one in findings("configs")] == [
        ("ok", f"{group}: 1 config composes") for group in some
    ]


def test_json(capsys):
    assert main(["check", "data", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert [one["level"] for one in report["data"]] == ["note", "ok", "note"]
    assert set(report["data"][0]) == {"level", "text", "remedy"}


def test_an_unknown_section(capsys):
    assert main(["check", "enviroment"]) == 1
    assert "knows no 'enviroment'. Did you mean 'environment'?" in capsys.readouterr().err


def test_a_fault_gives_exit_code_1_and_its_remedy(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("OVSEG_DATA", str(tmp_path / "none"))
    assert main(["check", "data"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == f"  fault  OVSEG_DATA={tmp_path / 'none'} is no folder."
    assert lines[2] == "         -> Set it to the folder of your data sets, or unset it."
    assert lines[-1] == "faults: 1, notes: 1"


def put_coco(folder: Path) -> Path:
    """COCO-Stuff of two pictures, one of them damaged."""
    for stem in ("000000000139", "000000000285"):
        put_picture(folder / "val2017" / f"{stem}.jpg")
        put_map(folder / "stuffthingmaps" / "val2017" / f"{stem}.png", np.zeros(SIZE))
    (folder / "val2017" / "000000000285.jpg").write_bytes(b"%PDF")
    return folder


def test_data_that_is_there(monkeypatch, tmp_path):
    monkeypatch.setenv("OVSEG_DATA", str(tmp_path))
    put_coco(tmp_path / "coco")
    drawn = ("toyworld: 200 pictures; drawn when asked for", "")
    assert found("data", "ok") == [(f"OVSEG_DATA={tmp_path}", ""), drawn]
    # Only what can be told without opening pictures.
    faults = found("data", "fault")
    assert [text for text, _ in faults] == [
        f"{name}: The split 'val' has 2 pictures, its publisher's has 5000."
        for name in ("coco_object", "coco_stuff")
    ]
    assert faults[0][1].startswith("Some were not unpacked: compare with https://")
    ((text, remedy),) = found("data", "note")
    assert text.startswith("not on disk: ade20k, ")
    assert "coco_panoptic" in text
    assert "coco_stuff" not in text
    assert "'ovseg ls datasets' says where each is from" in remedy


def test_every_file_of_a_data_set(monkeypatch, tmp_path):
    put_coco(tmp_path)
    words = ["dataset=coco_stuff", f"dataset.root={tmp_path}"]
    monkeypatch.setattr("ovseg.data.coco_stuff.PICTURES", {})
    (only,) = [one for one in findings("data", words) if one.level == "fault"]
    assert only.text == f"coco_stuff: {tmp_path / 'val2017' / '000000000285.jpg'} is a PDF document."
    assert only.remedy == "Convert it to PNG or JPEG first."
    put_picture(tmp_path / "val2017" / "000000000285.jpg")
    assert [one.text for one in findings("data", words) if one.level == "ok"] == [
        "coco_stuff: 2 pictures; every file opened"
    ]


def test_a_data_set_by_name_and_key(capsys, tmp_path):
    put_coco(tmp_path)
    assert main(["check", "data", "dataset=coco_stuff", f"dataset.root={tmp_path}"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines if "fault " in line] == ["  fault  coco_stuff"] * 2
    assert "000000000285.jpg is a PDF document." in "\n".join(lines)


def test_data_that_was_asked_for_and_is_not_there(tmp_path):
    words = ["dataset=coco_panoptic", f"dataset.root={tmp_path / 'none'}"]
    (only,) = [one for one in findings("data", words) if one.level == "fault"]
    assert only.text == f"coco_panoptic: {tmp_path / 'none'} is not there."
    assert only.remedy.startswith("Download COCO 2017 panoptic from https://cocodataset.org")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["dataset=folder"], "folder: Not given: dataset.root."),
        (["dataset=cocco_stuff"], "There is no dataset 'cocco_stuff'."),
        (["dataset.root=x"], "dataset.root=x: of which data set?"),
    ],
)
def test_keys_of_data_that_make_no_sense(words, says):
    (only,) = [one for one in findings("data", words) if one.level == "fault"]
    assert says in only.text
    assert only.remedy


def test_only_data_takes_keys(capsys):
    assert main(["check", "weights", "dataset=coco_stuff"]) == 1
    assert "Only the section data takes keys: ovseg check data dataset=coco_stuff." in capsys.readouterr().err


def test_an_old_and_a_missing_package(monkeypatch):
    def version(name):
        if name == "timm":
            raise PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(
        environment, "requires", lambda _: ["timm>=0.9", "torch>=2.4", "rich>=1.0", 'ruff; extra == "dev"']
    )
    monkeypatch.setattr(environment, "version", version)
    assert found("environment", "fault") == [
        ("timm is not installed.", "pip install 'timm>=0.9'"),
        ("torch 1.0 is not >=2.4.", "pip install 'torch>=2.4'"),
    ]
    assert ("packages: rich 1.0", "") in found("environment", "ok")


def test_an_old_python(monkeypatch):
    monkeypatch.setattr(environment.platform, "python_version", lambda: "3.8.1")
    assert fault("environment") == ("Python 3.8.1 is not >=3.10.", "Make an environment with a newer Python.")


def test_a_broken_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    text, remedy = fault("environment")
    assert text.startswith("torch cannot be imported: ModuleNotFoundError")
    assert "https://pytorch.org" in remedy


def test_more_threads_than_cores(monkeypatch):
    monkeypatch.setattr(environment, "_cores", lambda: 0)
    assert (
        "torch has more threads than cores, which is slow.",
        "Set runtime.threads=0 or OMP_NUM_THREADS=0.",
    ) in found("environment", "note")


def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("OVSEG_CACHE", str(tmp_path / "file" / "cache"))
    text, remedy = fault("environment")
    assert text.startswith(f"The cache folder {tmp_path / 'file' / 'cache'} cannot be written: ")
    assert remedy == "Set OVSEG_CACHE to another folder."


def test_a_cache_with_little_room(monkeypatch):
    monkeypatch.setattr(environment, "_LITTLE_SPACE", 10**18)
    assert any("may not fit" in text for text, _ in found("environment", "note"))


def fake_plugins(monkeypatch, *points: EntryPoint) -> None:
    monkeypatch.setattr(plugins, "_entry_points", lambda group: tuple(p for p in points if p.group == group))


def test_no_plugins(monkeypatch):
    fake_plugins(monkeypatch)
    assert found("plugins", "note") == [("No plugin is installed.", "")]


@pytest.mark.filterwarnings("ignore::ovseg.plugins.PluginWarning")
def test_plugins_are_imported_and_broken_ones_named(monkeypatch, tmp_path):
    (tmp_path / "breaks_on_import.py").write_text("raise RuntimeError('no such driver')")
    monkeypatch.syspath_prepend(tmp_path)
    fake_plugins(
        monkeypatch,
        EntryPoint("sound", "json:loads", "ovseg.evaluators"),
        EntryPoint("breaks", "breaks_on_import:Thing", "ovseg.backbones"),
        EntryPoint("gone", "not_there.conf", "ovseg.conf"),
    )
    assert found("plugins", "ok") == [("sound (ovseg.evaluators) of the package '(unknown)'", "")]
    faults = found("plugins", "fault")
    assert len(faults) == 2
    assert "'breaks' (ovseg.backbones)" in faults[0][0]
    assert "RuntimeError: no such driver" in faults[0][0]
    assert "'gone' (ovseg.conf)" in faults[1][0]
    assert "there is no module 'not_there.conf'" in faults[1][0]
    assert all(remedy.startswith("Repair or uninstall that package") for _, remedy in faults)


def add_configs(monkeypatch, folder: Path, **files: str) -> None:
    """A plugin with YAML: ``model__mine="name: x"`` is the file ``model/mine.yaml``."""
    package = folder / "my_package_conf"
    package.mkdir()
    for name, content in files.items():
        path = package / (name.replace("__", "/") + ".yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    monkeypatch.syspath_prepend(folder)
    fake_plugins(monkeypatch, EntryPoint("mine", "my_package_conf", "ovseg.conf"))


def test_a_config_that_hides_behind_another(monkeypatch, tmp_path):
    add_configs(monkeypatch, tmp_path, model__fcclip="name: fcclip")
    text, remedy = fault("plugins")
    assert text == (
        "The config model/fcclip.yaml of the package '(unknown)' is never read: ovseg itself has one of "
        "that name, which comes first."
    )
    assert remedy == f"Rename {tmp_path / 'my_package_conf' / 'model' / 'fcclip.yaml'}."


FAULTY = {
    "model__wrong_key": (
        "defaults:\n  - fcclip\n  - _self_\nshort_sid: 3\n",
        "has no argument 'short_sid'. Did you mean 'short_side'?",
    ),
    "model__no_parent": ("defaults:\n  - fclip\n", "fclip"),
    "model__backbone__typo": ("name: clip_resnett\n", "Did you mean 'clip_resnet'?"),
    "runtime__typo": ("precison: fp32\n", "precison"),
    "runtime__value": ("precision: fp8\n", "must be one of fp32, fp16, bf16"),
    "experiment__typo": (
        "# @package _global_\nmodel:\n  short_sid: 3\n",
        "in 'ovseg predict': model.short_sid",
    ),
    "experiment__of_what_is_not_trained": (
        "# @package _global_\ndefaults:\n  - override /model: trident\nmodel:\n  short_sid: 3\n",
        "in 'ovseg predict': model.short_sid",
    ),
    "recipe__trident-ade20k": ("# @package _global_\nmodel:\n  cos_fak: 1\n", "Did you mean 'cos_fac'?"),
    "dataset__broken": ("a: [\n", "while parsing a flow node"),
}


@pytest.mark.parametrize("name", FAULTY)
def test_a_faulty_config(monkeypatch, tmp_path, name):
    content, says = FAULTY[name]
    add_configs(monkeypatch, tmp_path, **{name: content})
    group, _, option = name.replace("__", "/").rpartition("/")
    monkeypatch.setattr(configs, "config_groups", lambda: {"model": ["trident"], group: [option]})
    text, remedy = fault("configs")
    assert text.startswith(f"{group}={option}:\n")
    assert says in text
    assert remedy == f"Correct {group}/{option}.yaml or what it names."


def test_a_group_that_no_verb_has_composes_on_its_own(monkeypatch, tmp_path):
    add_configs(monkeypatch, tmp_path, my_group__mine="a: 1\n")
    monkeypatch.setattr(configs, "config_groups", lambda: {"my_group": ["mine"]})
    assert found("configs", "ok") == [("my_group: 1 config composes", "")]


def test_groups_of_parts_are_those_of_the_registries():
    assert set(config_groups()) >= {"model/backbone", "model/mask_generator", "model/classifier"}
    assert {"model/backbone", "model/mask_generator", "model/classifier"} <= set(configs._PARTS)
    assert set(configs._PARTS.values()) == set(REGISTRIES)


def test_missing_weights_are_a_note():
    assert found("weights", "fault") == []
    ((text, remedy),) = found("weights", "note")
    assert text == f"not on disk: {', '.join(name for name, entry in ZOO.items() if not entry.shipped)}"
    assert remedy.startswith("ovseg download NAME")


def put(tmp_path: Path, name: str, content: bytes) -> Path:
    path = tmp_path / "cache" / "weights" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_damaged_and_unfinished_weights(tmp_path):
    path = put(tmp_path, "fcclip.pth", b"<html>sorry</html>")
    part = put(tmp_path, "fcclip_r50.pth.part", bytes(5000))
    text, remedy = fault("weights")
    assert text.startswith(f"fcclip: {path} is a web page, not weights")
    assert remedy == f"rm '{path}' && ovseg download fcclip"
    assert found("weights", "note")[0] == (
        f"unfinished download: {part}, 5.0 kB",
        "ovseg download goes on with it; delete it if it is not wanted.",
    )


def test_whole_weights(tmp_path):
    header = b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
    path = put(tmp_path, "fcclip.pth", len(header).to_bytes(8, "little") + header + b"x")
    assert found("weights", "ok")[0] == (f"fcclip: {path}, {path.stat().st_size} B", "")
    others = [text for text, _ in found("weights", "ok")[1:]]
    assert all(re.fullmatch(r"toyworld_\w+: comes with ovseg, [\d.]+ MB", text) for text in others)
    assert "not on disk: fcclip_r50" in found("weights", "note")[0][0]


def test_a_model_with_unknown_weights(monkeypatch, tmp_path):
    add_configs(monkeypatch, tmp_path, model__mine="defaults:\n  - fcclip\n  - _self_\nweights: fclip\n")
    text, remedy = fault("weights")
    assert text.startswith("model=mine: There is no weights file ")
    assert "Did you mean 'fcclip'?" in text
    assert remedy == "Correct the weights that its config names."


@pytest.mark.parametrize(
    ("mirror", "level"), [("https://example.org/m", "ok"), ("folder", "ok"), ("no_such_folder", "fault")]
)
def test_the_mirror(monkeypatch, tmp_path, mirror, level):
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OVSEG_MIRROR", mirror)
    assert any(f"OVSEG_MIRROR={mirror}" in text for text, _ in found("weights", level))
