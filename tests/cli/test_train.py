import signal

import pytest
from helpers.training_process import words, write_run
from torch.distributed.elastic.multiprocessing import SignalException

from ovseg.cli.completion import candidates
from ovseg.cli.main import main
from ovseg.errors import ConfigError
from ovseg.run.train import launch

pytestmark = pytest.mark.filterwarnings("ignore:the frozen parts have random weights")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("cli"))


def test_help_describes_keys_groups_and_examples(capsys):
    assert main(["train", "--help"]) == 0
    said = capsys.readouterr().out
    for word in ("model=fcclip dataset=coco_panoptic", "training.accumulate", "  training: fcclip"):
        assert word in said
    assert max(map(len, said.splitlines())) <= 110


def test_every_key_is_in_the_help(capsys):
    from ovseg.schema import TrainConfig, TrainingConfig

    main(["train", "--help"])
    said = capsys.readouterr().out
    keys = {*TrainConfig.__dataclass_fields__, *TrainingConfig.__dataclass_fields__}
    assert {key for key in keys if key not in said} == set()


def test_completion_knows_the_verb():
    assert "training.batch_size=" in candidates("ovseg train training.b")


def test_the_folder_is_named_by_data_set_and_model(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(words(files, "training.iterations=1", "training.batch_size=1")) == 0
    folder = tmp_path / "runs" / "train" / "folder" / "tiny_fcclip"
    assert sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")) == [
        "checkpoints",
        "config.yaml",
        "log.csv",
        "model.pth",
        "settings.json",
    ]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["training.crp=3"], "There is no key 'training.crp'. Did you mean 'training.crop'?"),
        (["model=trident"], "training=trident: there is no such option. Options of training: fcclip"),
        (
            ["model=trident", "training=fcclip"],
            "model.name=trident: this method has nothing that is trained (no 'start_training').",
        ),
        (["training=fcclop"], "training=fcclop: there is no such option. Did you mean 'fcclip'?"),
        (["dataset.root=nowhere"], "nowhere"),
        (["training.options.pionts=3"], "There is no key 'training.options.pionts'."),
        (["+training.options.pionts=3"], "fcclip has no training option 'pionts'. Did you mean 'points'?"),
        (
            ["training.evaluate_every=1", "training.best=panoptic_quality/PQ"],
            "training.best=panoptic_quality/PQ: there is no such number. Numbers: mean_iou/mIoU, ",
        ),
        (["runtime.nodes=2"], "torchrun --nnodes 2 --nproc-per-node 1 "),
        (["model.weights=null"], "model.weights=None: say what to begin with"),
        (["model.weights=parts"], "model.weights=parts: no part says where its published weights are."),
        (["model.weights=nowhere.pth"], "nowhere.pth"),
        (["split=val"], "dataset.split=val: there is neither the folder"),
        (["vocabulary.names=plain"], "are no built-in list, so they have no variants"),
    ],
)
def test_a_mistake_is_one_clean_message(files, tmp_path, typed, said, capsys):
    common = [f"output={tmp_path / 'out'}", "training.iterations=1", "training.batch_size=2"]
    assert main(words(files, *common, *typed)) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err
    assert "Traceback" not in captured.err
    assert not (tmp_path / "out" / "model.pth").exists()


def test_more_devices_start_as_many_processes_with_the_same_words(files, monkeypatch):
    started = []
    monkeypatch.setattr("torch.distributed.run.main", started.append)
    typed = words(files, "runtime.devices=2", "training.batch_size=2")
    assert main(typed) == 0
    assert started == [["--standalone", "--nproc-per-node", "2", "--module", "ovseg", *typed]]


@pytest.mark.parametrize(
    ("number", "code", "said"), [(signal.SIGINT, 130, "ovseg: interrupted\n"), (signal.SIGTERM, 143, "")]
)
def test_a_launcher_that_is_told_to_stop_ends_quietly(files, monkeypatch, capsys, number, code, said):
    def stopped(words):
        raise SignalException("Process 1 got signal", sigval=number)

    monkeypatch.setattr("torch.distributed.run.main", stopped)
    assert main(words(files, "runtime.devices=2", "training.batch_size=2")) == code
    assert capsys.readouterr().err == said


def test_combinations_are_not_started_by_every_process():
    with pytest.raises(ConfigError, match=r"-m with runtime\.devices=2: .* type torchrun --standalone "):
        launch(["-m", "model=fcclip,fcclip_r50"], 2, 1)


def test_several_nodes_are_started_by_hand():
    with pytest.raises(ConfigError, match=r"runtime\.nodes=2: start on every node, with the same words: "):
        launch([], 8, 2)


def test_processes_must_be_those_that_were_asked_for(files, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert main(words(files, "runtime.devices=2", "training.batch_size=8")) == 1
    assert "that is 2 processes, and torchrun has started 4" in capsys.readouterr().err
    assert main(words(files, "training.batch_size=6")) == 1
    assert "cannot be shared equally by 4 processes in 1 parts each" in capsys.readouterr().err


def test_fp16_without_a_gpu_is_fp32(files, tmp_path, capsys):
    more = (f"output={tmp_path}", "runtime.precision=fp16", "training.iterations=1", "training.batch_size=1")
    assert main(words(files, *more)) == 0
    assert "runtime.precision=fp16 needs a GPU; fp32 is used." in capsys.readouterr().err
