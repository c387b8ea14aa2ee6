"""The small Tridents of the golden files: their pictures, windows, arrays and seeded weights.

The six golden files are float32 results of the official code on towers of a few layers. Their weights are
seeded by key (`golden.trident_seed_weights`) and are saved here in the layouts of the published files.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from golden.scene import scene
from golden.trident_seed_weights import seed_state_dict
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from timm.models.vision_transformer import VisionTransformer

from ovseg.vocabulary import ClassEntry, Vocabulary, load_templates

GOLDEN = Path(__file__).parents[1] / "golden" / "trident"
CASES = ("a", "voc", "voc_pamr", "voc20", "city", "patch14")
WINDOW = 336
MEAN = (122.771, 116.746, 104.094)
STD = (68.501, 66.632, 70.323)


@dataclass(frozen=True)
class Golden:
    """One golden file of the official code; its arrays and pictures are shared, so not to be changed.

    Attributes:
        name: one of `CASES`.
    """

    name: str

    @cached_property
    def facts(self) -> dict[str, Any]:
        """The json."""
        return json.loads((GOLDEN / f"{self.name}.json").read_text())

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """The npz; arrays named in ``facts["thinned"]`` are flat and hold every n-th value."""
        with np.load(GOLDEN / f"{self.name}.npz") as file:
            return dict(file)

    @property
    def patch(self) -> int:
        """CLIP's patch in pixels."""
        return self.facts["tiny_config"]["clip"]["vision_cfg"]["patch_size"]

    def thin(self, key: str, value: torch.Tensor) -> np.ndarray:
        """A tensor of the golden array's full shape, thinned as the golden array is."""
        assert list(value.shape) == self.facts["shapes"][key], (key, list(value.shape))
        flat = value.detach().cpu().numpy()
        step = self.facts["thinned"].get(key)
        return flat.reshape(-1)[::step] if step else flat

    def differences(self, key: str, value: torch.Tensor) -> np.ndarray:
        """Absolute differences of a tensor, of the golden array's full shape, to the golden array."""
        return np.abs(self.thin(key, value).astype(np.float64) - self.arrays[key].astype(np.float64))

    def difference(self, key: str, value: torch.Tensor) -> float:
        """Largest of `differences`."""
        return float(self.differences(key, value).max())

    @cached_property
    def picture(self) -> np.ndarray:
        """The picture file, RGB uint8 (height, width, 3)."""
        return scene(**self.facts["scene"])

    @property
    def resized(self) -> np.ndarray:
        """The picture at the size that CLIP and DINO see, RGB uint8 (height, width, 3)."""
        if "resized_rgb_u8" in self.arrays:
            return self.arrays["resized_rgb_u8"].transpose(1, 2, 0)
        return self.picture

    @cached_property
    def processed(self) -> torch.Tensor:
        """The resized picture, normalised and fitted to CLIP's patches, (1, 3, H, W)."""
        x = (torch.from_numpy(self.resized.copy()) - torch.tensor(MEAN)) / torch.tensor(STD)
        x = x.permute(2, 0, 1)[None].contiguous()
        height, width = self.arrays["processed_hw"].tolist()
        if x.shape[-2:] == (height, width):
            return x
        return F.interpolate(x, size=(height, width), mode="bilinear", align_corners=False)

    @cached_property
    def windows(self) -> torch.Tensor:
        """CLIP's windows of `processed`, row by row, (b, 3, 336, 336)."""
        whole = self.processed
        cuts = []
        for y, x in (self.arrays["windows_y1x1y2x2_tokens"][:, :2] * self.patch).tolist():
            cuts.append(whole[0, :, y : y + WINDOW, x : x + WINDOW])
        return torch.stack(cuts)

    @property
    def vocabulary(self) -> Vocabulary:
        """The test classes, synonyms split as the official class files are, with the 80 templates."""
        classes = tuple(ClassEntry(names=tuple(line.split("; "))) for line in self.facts["case"]["names"])
        return Vocabulary(name=self.name, classes=classes, templates=load_templates("imagenet"))

    def weights(self, part: str) -> dict[str, torch.Tensor]:
        """The seeded weights of ``clip``, ``dino`` or ``sam`` under the published names."""
        return dict(_weights(part, json.dumps(self.facts["tiny_config"]), json.dumps(self.facts["gains"])))

    def write(self, folder: Path) -> dict[str, Path]:
        """Everything that a config needs of the tiny models, as files.

        Returns:
            ``clip``, ``dino``, ``sam``: weights in the layouts of the published files (clip.pt, dino.pth,
            sam.pth). ``clip_json``: the CLIP in open_clip's format; ``dino_json``: the keyword arguments of
            timm's VisionTransformer.
        """
        config = self.facts["tiny_config"]
        paths = {
            "clip": folder / "clip.pt",
            "dino": folder / "dino.pth",
            "sam": folder / "sam.pth",
            "clip_json": folder / "clip.json",
            "dino_json": folder / "dino.json",
        }
        for part in ("clip", "dino", "sam"):
            torch.save(self.weights(part), paths[part])
        paths["clip_json"].write_text(json.dumps(config["clip"] | {"quick_gelu": self.facts["quick_gelu"]}))
        paths["dino_json"].write_text(json.dumps(dino_arguments(config["dino"])))
        return paths


@cache
def read_golden(name: str) -> Golden:
    """One golden file, read once."""
    return Golden(name)


def dino_arguments(config: Mapping[str, int]) -> dict[str, int]:
    """The keyword arguments of timm's VisionTransformer for the DINO of a golden file."""
    return {**config, "patch_size": 16, "img_size": 224}


def build_sam(config: Mapping[str, Any]) -> Sam:
    """The segment-anything package's own SAM at the size of a golden file, without weights."""
    dim, size, patch = config["prompt_dim"], 1024, 16
    return Sam(
        image_encoder=ImageEncoderViT(
            depth=config["depth"],
            embed_dim=config["embed_dim"],
            img_size=size,
            mlp_ratio=4,
            norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
            num_heads=config["num_heads"],
            patch_size=patch,
            qkv_bias=True,
            use_rel_pos=True,
            global_attn_indexes=config["global_attn"],
            window_size=14,
            out_chans=dim,
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=dim,
            image_embedding_size=(size // patch, size // patch),
            input_image_size=(size, size),
            mask_in_chans=16,
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(
                depth=2, embedding_dim=dim, mlp_dim=config["dec_mlp"], num_heads=config["dec_heads"]
            ),
            transformer_dim=dim,
            iou_head_depth=3,
            iou_head_hidden_dim=dim,
        ),
    ).eval()


@cache
def _weights(part: str, config: str, gains: str) -> dict[str, torch.Tensor]:
    sizes = json.loads(config)[part]
    with torch.device("meta"):
        if part == "clip":
            module: torch.nn.Module = open_clip.CLIP(**sizes)
        elif part == "dino":
            module = VisionTransformer(**dino_arguments(sizes), num_classes=0)
        else:
            module = build_sam(sizes)
    return seed_state_dict(module.state_dict(), f"{part}.", json.loads(gains))
