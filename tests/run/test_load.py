import pytest
import torch

from ovseg.config import compose_model
from ovseg.errors import ConfigError, WeightsError
from ovseg.registry import METHODS
from ovseg.run.load import find_device, load_method


class Tiny(torch.nn.Module):
    """A method in form only, that remembers what was done to it."""

    def __init__(self, *, width: int = 3) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(width))
        self.built_on = self.weight.device.type
        self.log: list[object] = []

    def predict_batch(self, images, vocabulary, *, tasks): ...

    def load_weights(self, path):
        self.log.append(("weights", path))

    def prepare(self, *, device, precision):
        self.log.append(("prepare", device, precision, self.training))


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(METHODS, "_run_time", {})
    METHODS.register("tiny", Tiny)


def test_weights_from_a_file_fill_a_method_that_was_built_without_memory(tmp_path):
    file = tmp_path / "w.pth"
    file.write_bytes(b"x")
    node = {"name": "tiny", "width": 5, "weights": "elsewhere"}
    method = load_method(node, weights=file, device="cpu", precision="bf16")
    assert method.built_on == "meta"
    assert method.log == [("weights", file), ("prepare", torch.device("cpu"), "bf16", True)]
    assert not method.training
    assert node == {"name": "tiny", "width": 5, "weights": "elsewhere"}


def test_random_weights_are_seeded_and_warned_of():
    def draw(seed):
        with pytest.warns(UserWarning, match="'tiny' has random weights: it is untrained"):
            return load_method({"name": "tiny", "weights": "random"}, seed=seed, device="cpu")

    assert torch.equal(draw(0).weight, draw(0).weight)
    assert not torch.equal(draw(0).weight, draw(1).weight)
    assert draw(0).built_on == "cpu"
    assert draw(0).log[0][0] == "prepare"


def test_a_method_without_weights_says_null():
    method = load_method({"name": "tiny", "weights": None}, device="cpu")
    assert method.built_on == "cpu"
    assert [step[0] for step in method.log] == ["prepare"]


def test_faults_come_at_once_and_before_weights_are_looked_for():
    with pytest.raises(ConfigError) as caught:
        load_method({"name": "tiny", "widht": 3}, precision="fp8")
    assert str(caught.value).splitlines() == [
        "model.widht: 'tiny' has no argument 'widht'. Did you mean 'width'? Known: width.",
        "model.weights is missing: a name from 'ovseg ls weights', a path, parts, random, or null for none.",
        "precision=fp8: must be one of fp32, fp16, bf16.",
    ]
    with pytest.raises(ConfigError, match="widht"):
        load_method({"name": "tiny", "widht": 3, "weights": "no-such-weights"})


def test_names_and_overrides_compose_as_on_the_command_line():
    with pytest.raises(ConfigError, match=r"model=fcclop: there is no such option\. Did you mean 'fcclip'\?"):
        load_method("fcclop")
    with pytest.raises(ConfigError, match=r"model\.short_side='x': input should be a valid integer"):
        load_method("fcclip", overrides=["model.short_side=x"])
    with pytest.raises(ConfigError, match="overrides only go with the name of a model"):
        load_method(compose_model("fcclip"), overrides=["model.short_side=3"])


def test_unknown_weights_are_the_zoo_s_to_report():
    with pytest.raises(WeightsError, match="no weights are named 'fclip'"):
        load_method({"name": "tiny"}, weights="fclip", device="cpu")


def test_devices():
    assert find_device("cpu") == torch.device("cpu")
    assert find_device("auto").type in ("cpu", "cuda")
    with pytest.raises(ConfigError, match=r"device=gpu: must be auto, cpu, cuda, cuda:1 or mps\."):
        find_device("gpu")
    with pytest.raises(
        ConfigError,
        match=r"device=cuda:99: torch .* finds \d+ devices of type 'cuda' here\. Write device=auto",
    ):
        find_device("cuda:99")
    with pytest.raises(ConfigError, match=r"device=meta: torch .* finds 0 devices of type 'meta' here"):
        find_device("meta")


def test_text_cache_settings(tmp_path, monkeypatch):
    from ovseg.run.load import _text_cache

    monkeypatch.setenv("OVSEG_CACHE", str(tmp_path))
    assert _text_cache(None)._directory == tmp_path / "text"
    assert _text_cache(True)._directory == tmp_path / "text"
    assert _text_cache(False)._directory is None
    assert _text_cache("elsewhere")._directory.name == "elsewhere"
