"""Every shipped model made small: the same parts, wired by the same YAML, with towers of a few layers.

`TINY` says for each registered name what its node is given instead. A new name needs an entry here;
`tests/conformance` fails without one and then runs over it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ovseg.build import PARTS
from ovseg.config import compose_config, compose_model

GOLDEN = Path(__file__).parents[1] / "golden"


@dataclass(frozen=True)
class Architecture:
    """Stands for the path of a JSON file with an architecture.

    Attributes:
        file: a golden file.
        keys: the way to the architecture inside it.
        extra: keys that the golden file leaves to defaults.
    """

    file: str
    keys: tuple[str, ...]
    extra: tuple[tuple[str, Any], ...] = ()

    def write(self, folder: Path) -> str:
        """Write it into a folder and return the path."""
        found = json.loads((GOLDEN / self.file).read_text())
        for key in self.keys:
            found = found[key]
        path = folder / f"{self.file.replace('/', '_').removesuffix('.json')}_{self.keys[-1]}.json"
        path.write_text(json.dumps({**found, **dict(self.extra)}))
        return str(path)


SAM = Architecture("trident/a.json", ("tiny_config", "sam"))
SMALLER_SAM = Architecture("trident/a.json", ("tiny_config", "sam"), (("image_size", 128),))

TINY: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "methods": {
        "fcclip": {"short_side": 64, "long_side": 160},
        "clip_dense": {"short_side": 40, "long_side": 160, "window": 32, "stride": 16, "min_area": 0},
        "trident": {"short_side": 48, "long_side": 160, "window": 48, "stride": 32, "minimal_area": 4},
    },
    "backbones": {
        "clip_convnext": {"architecture": Architecture("fcclip/tiny.json", ("clip_config",))},
        "clip_resnet": {"architecture": Architecture("fcclip/tiny_rn.json", ("clip_config",))},
        "clip_vit": {"architecture": Architecture("trident/a.json", ("tiny_config", "clip"))},
        "dino": {
            "architecture": Architecture(
                "trident/a.json", ("tiny_config", "dino"), (("patch_size", 16), ("img_size", 224))
            )
        },
    },
    "last_blocks": {name: {} for name in ("self_attention", "value", "correlative", "neighbour", "proxy")},
    "mask_generators": {
        "mask2former": {
            "hidden_dim": 64,
            "queries": 20,
            "encoder_layers": 2,
            "decoder_layers": 3,
            "decoder_ffn": 128,
        },
        "sam": {"architecture": SAM},
        "sam_automatic": {
            "architecture": SMALLER_SAM,
            "points_per_side": 3,
            # What random weights say of their masks is below all thresholds.
            "pred_iou_thresh": 0.0,
            "stability_score_thresh": 0.0,
        },
    },
    "classifiers": {"fcclip": {"dim": 64}, "mask_pooled": {}, "cosine": {}},
}
"""Registry -> name -> keys of its node."""

WEIGHTS = ("pretrained", "checkpoint")
"""Keys that name published weights, which a small architecture cannot have."""

REGISTRY_OF_KEY: Mapping[str, str] = {
    "backbone": "backbones",
    "encoder": "backbones",
    "last_block": "last_blocks",
    "mask_generator": "mask_generators",
    "classifier": "classifiers",
}


def small(node: Mapping[str, Any], registry: str) -> dict[str, Any]:
    """A node and the nodes in it with the values of `TINY`, `Architecture`s not yet written."""
    assert set(REGISTRY_OF_KEY.values()) == set(PARTS.values())
    changed = {key: None if key in WEIGHTS else value for key, value in node.items()}
    changed.update(TINY[registry][node["name"]])
    for key, value in changed.items():
        if isinstance(value, Mapping) and "name" in value:
            changed[key] = small(value, REGISTRY_OF_KEY[key])
    return changed


def written(node: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What `small` gives as plain values; architectures go into `folder`."""
    plain = dict(node)
    for key, value in plain.items():
        if isinstance(value, Architecture):
            plain[key] = value.write(folder)
        elif isinstance(value, Mapping):
            plain[key] = written(value, folder)
    return plain


def different_models(names: Sequence[str]) -> list[str]:
    """Those of the shipped models that are not the same when made small: the first of a method's sizes."""
    nodes: list[dict[str, Any]] = []
    kept = []
    for name in names:
        node = {
            key: value for key, value in small(shipped_model(name), "methods").items() if key != "weights"
        }
        if node not in nodes:
            nodes.append(node)
            kept.append(name)
    return kept


@cache
def shipped_model(name: str) -> dict[str, Any]:
    """The node of conf/model/<name>.yaml; shared, so not to be changed."""
    return compose_model(name)


@cache
def shipped_part(group: str, name: str) -> dict[str, Any]:
    """The node of conf/<group>/<name>.yaml with what its own defaults bring; shared, so not to be changed.

    What a user must give is ``???``.
    """
    from omegaconf import OmegaConf

    composed = compose_config(None, [f"+{group}={name}"])
    node = OmegaConf.select(composed, group.replace("/", "."))
    plain = OmegaConf.to_container(node, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def typed(changed: Mapping[str, Any], shipped: Mapping[str, Any], path: str = "model") -> list[str]:
    """What of a node differs from the shipped one, as it is typed after ``ovseg predict``."""
    words = []
    for key, value in changed.items():
        if isinstance(value, Mapping):
            words += typed(value, shipped[key], f"{path}.{key}")
        elif value != shipped.get(key):
            sign = "" if key in shipped else "+"
            words.append(f"{sign}{path}.{key}={'null' if value is None else value}")
    return words
