"""Every kind of file that people hand over as weights, and every way in which keys can differ."""

import os
import pickle
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ovseg.errors import WeightsError
from ovseg.weights.checkpoint import load_strict, read_beside, read_state_dict

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.tensor([1.0, -1.0])}


class RunsCode:
    """Unpickles to a call, as a hostile checkpoint would."""

    def __reduce__(self):
        return os.system, ("touch hacked",)


class Pair(nn.Module):
    """Two layers under dotted names."""

    def __init__(self, features=3):
        super().__init__()
        self.head = nn.Linear(features, 2)
        self.body = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])


def same(state, expected=WEIGHTS):
    return list(state) == list(expected) and all(torch.equal(state[key], expected[key]) for key in expected)


def message(path: Path) -> str:
    with pytest.raises(WeightsError) as error:
        read_state_dict(path)
    assert str(path) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".pkl", ".bin", ""])
@pytest.mark.parametrize("new_format", [True, False])
def test_reads_what_torch_saves_whatever_its_suffix(tmp_path, suffix, new_format):
    path = tmp_path / f"weights{suffix}"
    torch.save(OrderedDict(WEIGHTS), path, _use_new_zipfile_serialization=new_format)
    assert same(read_state_dict(path))


@pytest.mark.parametrize("wrapper", ["model", "state_dict"])
def test_removes_the_wrapper_of_a_training_checkpoint(tmp_path, wrapper):
    path = tmp_path / "weights.pth"
    torch.save({wrapper: WEIGHTS, "iteration": 7, "optimizer": {"state": {}}}, path)
    assert same(read_state_dict(path))


def test_a_parameter_called_model_is_no_wrapper(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"model": torch.ones(2)}, path)
    assert same(read_state_dict(path), {"model": torch.ones(2)})


def test_removes_the_prefix_of_data_parallel_training(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"model": {f"module.{key}": value for key, value in WEIGHTS.items()}}, path)
    assert same(read_state_dict(path))


def test_reads_safetensors_whatever_its_suffix(tmp_path):
    path = tmp_path / "weights.bin"
    save_file(WEIGHTS, path)
    state = read_state_dict(path)
    assert same({key: state[key] for key in WEIGHTS})


def test_a_missing_file_a_folder_and_an_empty_file(tmp_path):
    assert "There is no weights file" in message(tmp_path / "none.pth")
    assert "is a folder" in message(tmp_path)
    (tmp_path / "empty.pth").touch()
    assert "is empty (0 bytes)" in message(tmp_path / "empty.pth")


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_file(tmp_path, kind, share):
    path = tmp_path / "weights.pth"
    big = {"a": torch.zeros(5000)}
    if kind == "safetensors":
        save_file(big, path)
    else:
        torch.save(big, path, _use_new_zipfile_serialization=kind == "zip")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    text = message(path)
    assert "is damaged or was not fetched to its end" in text
    assert f"({path.stat().st_size:,} bytes)" in text
    assert text.endswith("Delete it and fetch it again.")


@pytest.mark.parametrize(
    "page", [b"<!DOCTYPE html><html>quota</html>", b"\n  <html><head>", b"<?xml version='1.0'?>"]
)
def test_a_web_page(tmp_path, page):
    path = tmp_path / "weights.pth"
    path.write_bytes(page)
    assert "is a web page, not weights" in message(path)


def test_a_git_lfs_pointer(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n")
    assert "Git-LFS pointer" in message(path)
    assert "git lfs pull" in message(path)


def test_some_other_file(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    assert "is no checkpoint: it starts with b'\\x89PNG" in message(path)


@pytest.mark.parametrize("new_format", [True, False])
def test_a_pickle_with_code_is_not_run(tmp_path, monkeypatch, new_format):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pth"
    torch.save({"model": WEIGHTS, "more": RunsCode()}, path, _use_new_zipfile_serialization=new_format)
    text = message(path)
    assert f"more than data in it: it names '{os.system.__module__}.system'" in text
    assert not (tmp_path / "hacked").exists()


def test_a_plain_pickle_is_not_run_and_can_be_made_plain(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "zoo.pkl"
    path.write_bytes(pickle.dumps({"model": {key: value.numpy() for key, value in WEIGHTS.items()}}))
    text = message(path)
    assert "is a plain pickle" in text
    exec(text.split('python -c "')[1].rstrip('"'))
    assert same(read_state_dict(tmp_path / "zoo_plain.pth"))


def test_a_refused_checkpoint_can_be_made_plain_as_the_message_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pth"
    torch.save({"model": WEIGHTS, "args": Path("config.yaml")}, path)
    exec(message(path).split('python -c "')[1].rstrip('"'))
    assert same(read_state_dict(tmp_path / "weights_plain.pth"))


@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
def test_a_torchscript_archive(tmp_path):
    path = tmp_path / "RN50.pt"
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)), path)
    text = message(path)
    assert "is a TorchScript archive" in text
    assert ".safetensors" in text


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"epoch": 3, "lr": 0.1}, "there is 'epoch', 'lr'."),
        ({"model": {}}, "under 'model' there is nothing."),
        ({"model": {"a": torch.ones(1), "names": ["x"]}}, "under 'model' there is 'names'."),
        ({f"k{i}": i for i in range(9)}, "'k4' and 4 more."),
        ([torch.ones(1)], "holds a list, not weights"),
        (torch.ones(3), "holds a Tensor, not weights"),
    ],
)
def test_a_file_that_is_no_checkpoint(tmp_path, content, says):
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    assert says in message(path)


def test_load_fills_a_module_on_the_meta_device():
    source = Pair()
    with torch.device("meta"):
        module = Pair()
    module.body[0].bias.requires_grad_(False)
    load_strict(module, source.state_dict(), source="the file")
    assert same(module.state_dict(), source.state_dict())
    assert not module.body[0].bias.requires_grad
    assert module.head.weight.requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_load_converts_to_the_number_format_of_the_module(dtype):
    source = Pair()
    module = Pair()
    load_strict(module, {k: v.to(dtype) for k, v in source.state_dict().items()}, source="the file")
    assert {value.dtype for value in module.state_dict().values()} == {torch.float32}
    assert torch.equal(module.head.weight, source.head.weight.to(dtype).float())


def mismatch(module, state, **options) -> str:
    before = {key: value.clone() for key, value in module.state_dict().items()}
    with pytest.raises(WeightsError) as error:
        load_strict(module, state, source="fcclip.pth", **options)
    assert same(module.state_dict(), before), "a refused file must leave the module as it was"
    return str(error.value)


def test_a_mismatch_lists_every_kind():
    state = dict(Pair().state_dict())
    del state["head.bias"]
    state["extra.thing"] = torch.ones(1)
    state["body.1.weight"] = torch.ones(4, 2)
    text = mismatch(Pair(), state)
    assert text.startswith(
        "fcclip.pth does not fit Pair: of 6 keys, 1 missing, 1 unknown, 1 of another shape.\n"
    )
    assert "  missing in the file:\n    head.bias\n" in text
    assert "  unknown to the model:\n    extra.thing\n" in text
    assert "  of another shape in the file:\n    body.1.weight (4, 2) instead of (2, 2)\n" in text


def test_a_mismatch_is_grouped_with_counts_and_examples():
    module = nn.ModuleDict({name: nn.Sequential(*[nn.Linear(1, 1) for _ in range(9)]) for name in "abc"})
    state = {key: value for key, value in module.state_dict().items() if key.startswith("a.")}
    text = mismatch(module, state)
    assert "    b.*: 18 keys: b.0.weight, b.0.bias, b.1.weight, ...\n" in text
    assert "    c.*: 18 keys: c.0.weight, c.0.bias, c.1.weight, ...\n" in text
    assert "36 missing" in text
    assert text.endswith(
        "The file holds only a part of the model: fetch the complete one (`ovseg ls weights`)."
    )


def test_ignored_keys_are_let_pass_only_when_the_module_has_none():
    state = {**Pair().state_dict(), "clip.attn_mask": torch.ones(1), "criterion.weight": torch.ones(1)}
    module = Pair()
    load_strict(module, state, source="x", ignore=("*attn_mask", "criterion.*"))
    assert same(module.state_dict(), Pair().state_dict()) is False
    assert torch.equal(module.head.weight, state["head.weight"])
    assert "unknown to the model:\n    clip.attn_mask\n" in mismatch(Pair(), state, ignore=("criterion.*",))
    load_strict(module, state, source="x", ignore=("*",))
    wrong = {**state, "head.bias": torch.ones(5)}
    assert "head.bias (5,) instead of (2,)" in mismatch(Pair(), wrong, ignore=("*",))


def test_keys_that_may_lack_lack_together():
    state = dict(Pair().state_dict())
    del state["body.0.weight"]
    text = mismatch(Pair(), state, may_lack=("body.*",))
    assert "missing in the file:\n    body.0.weight\n" in text
    only_head = {key: value for key, value in state.items() if key.startswith("head.")}
    module = Pair()
    kept = module.body[0].weight.clone()
    load_strict(module, only_head, source="x", may_lack=("body.*",))
    assert torch.equal(module.body[0].weight, kept)
    load_strict(module, state, source="x", may_lack=("body.*", "body.0.weight"))


class Named(nn.Module):
    """A state dict with these very keys."""

    def __init__(self, *keys, size=1):
        super().__init__()
        self.keys, self.size = keys, size

    def state_dict(self):
        return {key: torch.zeros(self.size) for key in self.keys}


@pytest.mark.parametrize(
    ("model", "file", "says"),
    [
        (
            Named("clip.visual.trunk.stages.0.w", "clip.x"),
            Named("clip.visual.layer1.0.w", "clip.x"),
            "The file looks like a ResNet CLIP, the model is a ConvNeXt CLIP: choose",
        ),
        (
            Named("clip.visual.layer1.0.w", "sem_seg_head.pixel_decoder.w"),
            Named("visual.layer1.0.w"),
            "The file looks like a ResNet CLIP, the model is a ResNet CLIP with a Mask2Former decoder",
        ),
        (Named("clip.a", "clip.b.c"), Named("a", "b.c"), "Every key of the file lacks 'clip.' in front"),
        (Named("a", "b.c"), Named("net.a", "net.b.c"), "Every key of the file has too much 'net.' in front"),
        (Named("a", "b"), Named("c"), "have no key in common: this file is of another model"),
        (Named("a", size=2), Named("a"), "layout is alike but sizes differ"),
        (Named("a", "b"), Named("a", "c"), "of another variant or version"),
        (Named("a"), Named("a", "b"), "holds more than the model"),
    ],
)
def test_the_likely_cause_is_said(model, file, says):
    with pytest.raises(WeightsError) as error:
        load_strict(model, file.state_dict(), source="x")
    assert says in str(error.value).split("\n")[-1]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"model": WEIGHTS, "notes": {"epoch": 3, "names": ["a"]}}, {"epoch": 3, "names": ["a"]}),
        ({"model": WEIGHTS}, None),
        (WEIGHTS, None),
        ([1, 2], None),
    ],
)
def test_what_stands_beside_the_weights(tmp_path: Path, content: object, expected: object) -> None:
    path = tmp_path / "file.pth"
    torch.save(content, path)
    assert read_beside(path, "notes") == expected


def test_other_kinds_of_files_have_nothing_beside_the_weights(tmp_path: Path) -> None:
    save_file(WEIGHTS, tmp_path / "file.safetensors")
    torch.save({"model": WEIGHTS, "notes": 1}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert read_beside(tmp_path / "file.safetensors", "notes") is None
    assert read_beside(tmp_path / "old.pth", "notes") is None


def test_code_beside_the_weights_is_refused_too(tmp_path: Path) -> None:
    torch.save({"model": WEIGHTS, "notes": RunsCode()}, tmp_path / "file.pth")
    with pytest.raises(WeightsError, match="Reading it could run code"):
        read_beside(tmp_path / "file.pth", "notes")
