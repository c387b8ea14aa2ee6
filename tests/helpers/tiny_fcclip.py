"""The small FC-CLIPs of the golden files: built, seeded and saved as an official checkpoint."""

import json
import tempfile
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from golden.seed_weights import seed_state_dict

from ovseg.models.common.text import TextCache
from ovseg.models.fcclip.backbone import clip_convnext, clip_resnet
from ovseg.models.fcclip.classifier import FCCLIPClassifier
from ovseg.models.fcclip.mask_generator import Mask2Former
from ovseg.models.fcclip.method import FCCLIP
from ovseg.vocabulary import ClassEntry, Vocabulary

GOLDEN = Path(__file__).parents[1] / "golden" / "fcclip"


@dataclass(frozen=True)
class Golden:
    """One golden file of the official code.

    Attributes:
        name: ``tiny`` (ConvNeXt) or ``tiny_rn`` (ModifiedResNet).
    """

    name: str

    @cached_property
    def facts(self) -> dict[str, Any]:
        """The json."""
        return json.loads((GOLDEN / f"{self.name}.json").read_text())

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """The npz; arrays named in `facts["thinned"]` hold every n-th value."""
        with np.load(GOLDEN / f"{self.name}.npz") as file:
            return dict(file)

    def difference(self, key: str, value: torch.Tensor) -> float:
        """Largest absolute difference of a tensor to a golden array."""
        expected = torch.from_numpy(self.arrays[key]).double()
        shape, _ = self.facts["arrays"][key]
        assert list(value.shape) == shape, (key, list(value.shape), shape)
        step = self.facts["thinned"].get(key)
        value = value.detach().cpu().double()
        value = value.flatten()[::step] if step else value
        return float((value - expected).abs().max())

    @property
    def vocabulary(self) -> Vocabulary:
        """The test classes."""
        classes = (_entry(names, thing) for names, thing in self.facts["test_classes"])
        return Vocabulary(name=self.name, classes=tuple(classes))

    @property
    def training_names(self) -> tuple[str, ...]:
        """All synonyms of the training classes."""
        return tuple(
            name for names, thing in self.facts["train_classes"] for name in _entry(names, thing).names
        )

    def build(self, tmp_path: Path) -> FCCLIP:
        """The untrained method on the meta device, as the loader makes it."""
        facts = self.facts
        architecture = tmp_path / f"{facts['clip_model_name']}.json"
        architecture.write_text(json.dumps(facts["clip_config"]))
        with torch.device("meta"):
            make = clip_resnet if self.name == "tiny_rn" else clip_convnext
            backbone = make(architecture=str(architecture))
            method = FCCLIP(
                backbone=backbone,
                mask_generator=Mask2Former(
                    backbone=backbone.spec,
                    hidden_dim=64,
                    queries=20,
                    encoder_layers=2,
                    decoder_layers=3,
                    decoder_ffn=128,
                ),
                classifier=FCCLIPClassifier(
                    backbone=backbone.spec,
                    dim=64,
                    ensemble_on_valid_mask=facts["config2"]["ENSEMBLE_ON_VALID_MASK"],
                ),
                text_cache=TextCache(None),
            )
        method._training_names = self.training_names
        return method.eval()

    def official_state(self) -> dict[str, torch.Tensor]:
        """The seeded weights under the official names, all keys of the official model."""
        return dict(self._official_state)

    @cached_property
    def _official_state(self) -> dict[str, torch.Tensor]:
        shapes = {
            key: (shape, getattr(torch, dtype[6:]))
            for key, (shape, dtype) in self.facts["state_dict"].items()
        }
        state = seed_state_dict(shapes, self.facts["scale"], self.facts["salt"])
        kept = {
            key: torch.zeros(shape, dtype=dtype) for key, (shape, dtype) in shapes.items() if key not in state
        }
        return {**state, **kept}

    def checkpoint(self, folder: Path) -> Path:
        """The seeded weights as an official, Detectron2-wrapped file."""
        path = folder / f"{self.name}.pth"
        torch.save({"model": self.official_state(), "iteration": 0}, path)
        return path

    def load(self, folder: Path) -> FCCLIP:
        """The method with the seeded weights, through the ordinary checkpoint loader."""
        method = self.build(folder)
        method.load_weights(self.checkpoint(folder))
        method.prepare(device=torch.device("cpu"), precision="fp32")
        return method


@cache
def read_golden(name: str) -> Golden:
    """One golden file, read once."""
    return Golden(name)


@cache
def golden_method(name: str) -> FCCLIP:
    """The method of a golden file with its weights; shared, so to be changed by monkeypatch only."""
    with tempfile.TemporaryDirectory() as folder:
        return read_golden(name).load(Path(folder))


def _entry(names: str, thing: int) -> ClassEntry:
    return ClassEntry(names=tuple(names.replace(", ", ",").split(",")), is_thing=bool(thing))
