"""What is installed is whole: from an empty folder, away from the checkout, everything composes."""

import json
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from ovseg.config import config_groups
from ovseg.vocabulary import vocabulary_names

from .conftest import PROJECT, run

pytestmark = pytest.mark.slow

COMPOSE_ALL = """
import json
from pathlib import Path
import ovseg
from ovseg.config import compose_config, conf_dir, config_groups, strict
from ovseg.schema import PredictConfig
from ovseg.vocabulary import load_vocabulary, vocabulary_names

groups = config_groups()
for group in ("model", "vocabulary", "recipe", "experiment", "runtime"):
    for option in groups[group]:
        strict(compose_config("predict", [f"{group}={option}", "input=a", "output=b"]), PredictConfig)
lists = {name: len(load_vocabulary(name)) for name in vocabulary_names()}
print(json.dumps({"package": ovseg.__file__, "conf": str(conf_dir()), "groups": groups, "lists": lists}))
"""


def source_files(folder, suffixes):
    return {
        path.relative_to(PROJECT).as_posix()
        for path in (PROJECT / folder).rglob("*")
        if path.suffix in suffixes and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_code_conf_and_lists_and_nothing_else(wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = source_files("ovseg", {".py", ".json", ".typed", ".safetensors", ".gz"}) | {"ovseg/py.typed"}
    wanted |= {f"ovseg/{path}" for path in source_files("conf", {".yaml"})}
    assert wanted <= held
    tops = {Path(path).parts[0] for path in held}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"ovseg"}


def test_the_sdist_can_be_worked_with(distributions):
    (sdist,) = distributions.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        held = {path.split("/", 1)[1] for path in archive.getnames() if "/" in path}
    wanted = {"pyproject.toml", "README.md", "LICENSE", "conf/predict.yaml", "tests/packaging/conftest.py"}
    assert wanted <= held
    assert source_files("ovseg", {".py", ".json", ".safetensors", ".gz"}) <= held


def test_a_wheel_straight_from_the_checkout_is_the_same(distributions, wheel, tmp_path):
    run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", tmp_path, PROJECT)
    (direct,) = tmp_path.glob("*.whl")
    assert sorted(zipfile.ZipFile(direct).namelist()) == sorted(zipfile.ZipFile(wheel).namelist())


def test_everything_composes_from_an_empty_folder(installed, tmp_path):
    found = json.loads(run(installed.python, "-c", COMPOSE_ALL, cwd=tmp_path))
    assert Path(found["package"]).is_relative_to(installed.folder)
    assert Path(found["conf"]) == Path(found["package"]).parent / "conf"
    assert found["groups"] == config_groups()
    assert set(found["lists"]) == set(vocabulary_names())
    assert list(tmp_path.iterdir()) == []


def test_the_command_works_from_an_empty_folder(installed, tmp_path):
    done = installed.ovseg("predict", "--cfg", "job", "experiment=fcclip-cityscapes", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "short_side: 1024" in done.stdout
    assert done.stderr == ""
    done = installed.ovseg("predict", "--help", cwd=tmp_path)
    assert "fcclip_r50x64" in done.stdout
    assert installed.ovseg("--version", cwd=tmp_path).stdout.startswith("ovseg ")
    assert list(tmp_path.iterdir()) == []
