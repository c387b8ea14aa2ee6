import json
import os
import subprocess
import sys

import pytest
from helpers.fake_method import FakeMethod
from PIL import Image

import ovseg.run.load
from ovseg.cli.main import main
from ovseg.registry import METHODS

pytestmark = pytest.mark.filterwarnings("ignore:'fake' has random weights")


class CommandLineMethod(FakeMethod):
    """The fake method with a constructor that a config can fill."""

    def __init__(self, *, shade: int = 1) -> None:
        super().__init__()
        self.shade = shade

    def load_weights(self, path): ...

    def prepare(self, *, device, precision): ...


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder with one picture and YAML of one's own for a model `fake`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(METHODS, "_run_time", {})
    METHODS.register("fake", CommandLineMethod)
    model = tmp_path / "conf" / "model"
    model.mkdir(parents=True)
    (model / "fake.yaml").write_text("name: fake\nweights: random\nshade: 1\n")
    Image.new("RGB", (40, 30), (200, 10, 10)).save(tmp_path / "a.png")
    return tmp_path


def predict(*words):
    return main(["predict", "--config-dir", "conf", "model=fake", *words])


def test_a_picture_becomes_files_and_nothing_else_is_written(folder, capsys):
    assert predict("input=a.png", "output=out", "classes=[cat, dog|puppy, stuff:grass]") == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("1 picture predicted in ")
    assert sorted(path.name for path in folder.iterdir()) == ["a.png", "conf", "out"]
    index = json.loads((folder / "out" / "predictions.json").read_text())
    assert "shade" in json.dumps(index)


def test_settings_reach_the_run(folder, monkeypatch):
    seen = {}

    def load(node, **settings):
        seen.update(settings, node=node)
        return CommandLineMethod()

    monkeypatch.setattr(ovseg.run.load, "load_method", load)
    words = [
        "runtime.device=cpu",
        "runtime.seed=3",
        "runtime=fast",
        "runtime.text_cache=false",
        "model.shade=4",
    ]
    assert predict("input=a.png", "output=out", "tasks=[panoptic]", "vocabulary=cityscapes", *words) == 0
    assert seen == {
        "node": {"name": "fake", "weights": "random", "shade": 4},
        "device": "cpu",
        "precision": "bf16",
        "seed": 3,
        "text_cache": False,
    }
    index = json.loads((folder / "out" / "predictions.json").read_text())
    assert "cityscapes" in json.dumps(index)
    assert not list((folder / "out").rglob("*semantic*"))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["outptu=b"], "There is no key 'outptu'. Did you mean 'output'?"),
        (["model.shdae=3"], "There is no key 'model.shdae'. Did you mean 'model.shade'?"),
        (
            ["+model.shdae=3", "input=a.png"],
            "model.shdae: 'fake' has no argument 'shdae'. Did you mean 'shade'?",
        ),
        (["model=fcclop"], "model=fcclop: there is no such option. Did you mean 'fcclip'?"),
        (["batch_size=x"], "batch_size=x: Value 'x' of type 'str' could not be converted to Integer"),
        (["recipe=null"], "A group takes the name of an option; ~group leaves it out."),
        (["--resolve"], "The --resolve flag can only be used"),
        (["input=nowhere.png"], "nowhere.png"),
        (["input=a.png", "classes=cat"], "'cat' is neither a built-in vocabulary nor a file."),
        (["input=a.png", "vocabulary.name=citscapes"], "Did you mean 'cityscapes'?"),
        (["--config-dir", "nowhere"], "Additional config directory"),
    ],
)
def test_a_mistake_is_one_clean_message(folder, words, text, capsys):
    assert predict("output=out", *words) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("ovseg: ")
    assert text in captured.err
    assert "HYDRA_FULL_ERROR" not in captured.err
    assert "Traceback" not in captured.err
    assert not (folder / "out").exists()


def test_an_unknown_flag_is_argparse_s_to_refuse(folder, capsys):
    assert predict("--nonsense") == 2
    assert "unrecognized arguments: --nonsense" in capsys.readouterr().err


def test_a_broken_picture_is_reported_and_the_code_is_not_zero(folder, capsys):
    (folder / "b.png").write_bytes(b"not a picture")
    assert predict("input=[a.png,b.png]", "output=out") == 1
    captured = capsys.readouterr()
    assert "1 picture failed" in captured.out
    assert "b.png" in captured.out


def test_cfg_prints_the_config_on_stdout(folder, capsys):
    assert predict("--cfg", "job", "vocabulary=voc_20", "-p", "vocabulary") == 0
    assert capsys.readouterr().out.split("\n")[1] == "name: voc_20"
    assert predict("--cfg", "job", "--resolve", "output=${input}", "input=x") == 0
    assert "output: x" in capsys.readouterr().out


def test_help_describes_keys_groups_and_examples(capsys):
    assert main(["predict", "--help"]) == 0
    out = capsys.readouterr().out
    for key in (
        "input",
        "output",
        "classes",
        "tasks",
        "batch_size",
        "resume",
        "overlay",
        "runtime.*",
        "model.*",
    ):
        assert f"\n  {key} " in out
    assert "\n  model: clip_dense, clip_dense_toyworld, fcclip, " in out
    assert "${hydra:runtime.choices.model}" in out


def test_a_multirun_does_every_combination_and_survives_a_failure(folder, capsys):
    code = predict(
        "-m",
        "input=a.png",
        "output='out/${hydra:job.num}'",
        "vocabulary=voc_20,cityscapes",
        "model.shade=1,x",
    )
    captured = capsys.readouterr()
    assert code == 1
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["0", "2"]
    assert captured.out.count("1 picture predicted") == 2
    for job in (1, 3):
        assert f"ovseg: job {job}: model.shade='x': input should be a valid integer" in captured.err
    assert sorted(path.name for path in folder.iterdir()) == ["a.png", "conf", "out"]


def test_odd_paths_and_names_work_from_a_shell(folder):
    """Through bash, as people type it: quotes, blanks, brackets, apostrophes, letters beyond ASCII."""
    os.rename("a.png", "it's (1), é.png")
    show = f"{sys.executable} -m ovseg predict --cfg job -p"
    script = f"""
        {show} classes classes="[driver's seat, café, stuff:grass]"
        {show} input input="it's (1), é.png"
    """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert done.stdout == "# @package classes\n- driver's seat\n- café\n- stuff:grass\nit's (1), é.png\n"
