"""Weights by name: what each is, from where, and where it is on disk. Needs no torch.

To add weights: one entry in the tables below. Most are published by others and fetched once; toyworld's are
small and come inside the package.
"""

import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import platformdirs

from ovseg.errors import WeightsError
from ovseg.suggest import did_you_mean
from ovseg.weights.shipped import FOLDER as SHIPPED_FOLDER


@dataclass(frozen=True)
class Remote:
    """One file on a server.

    Attributes:
        url: where the bytes are.
        file: its name in the cache folder and on a mirror.
        page: what a person opens to fetch it by hand; the url itself if None.
        size: bytes, as published; None if not published.
        sha256: hex digest of the content, as published; None if not published.
    """

    url: str
    file: str
    page: str | None = None
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Entry:
    """Weights that can be asked for by name.

    Attributes:
        name: what users type.
        what: one line for people.
        remotes: the same weights in order of preference; a later one is used if the server lacks the earlier.
            Empty for what comes with ovseg.
        licence: as its publisher states it, or "see its page".
        source: the publisher's page, or `SHIPPED`.
        shipped: the file inside the package; None for weights that are fetched.
    """

    name: str
    what: str
    remotes: tuple[Remote, ...]
    licence: str
    source: str
    shipped: Path | None = None

    @property
    def size(self) -> int | None:
        """Bytes of the preferred file, as published; None if not published."""
        if self.shipped is not None:
            return self.shipped.stat().st_size if self.shipped.is_file() else None
        return self.remotes[0].size

    @property
    def sha256(self) -> str | None:
        """Digest of the preferred file, as published or of the file in the package; None if there is none."""
        if self.shipped is not None:
            return sha256(self.shipped.read_bytes()).hexdigest() if self.shipped.is_file() else None
        return self.remotes[0].sha256


SHIPPED = "comes with ovseg"
"""The source of weights that lie inside the package."""


def _fcclip(name: str, backbone: str, drive_id: str) -> Entry:
    remote = Remote(
        # This host with confirm=t gives the file where the usual link answers with a page about virus scans.
        url=f"https://drive.usercontent.google.com/download?id={drive_id}&export=download&confirm=t",
        file=f"{name}.pth",
        page=f"https://drive.google.com/file/d/{drive_id}/view",
    )
    what = f"FC-CLIP with CLIP {backbone}, trained on COCO panoptic"
    return Entry(name, what, (remote,), "Apache-2.0", "https://github.com/bytedance/fc-clip")


def _open_clip(name: str, repo: str, licence: str, *, hub_file: str = "") -> Entry:
    """CLIP weights on the Hugging Face hub; without a file name, in the files that open_clip looks for."""
    architecture, _, tag = name.partition(":")
    plain = hub_file or "open_clip_pytorch_model.bin"
    safe = f"{Path(hub_file).stem}.safetensors" if hub_file else "open_clip_model.safetensors"
    remotes = tuple(
        Remote(
            f"https://huggingface.co/{repo}/resolve/main/{file}", f"{architecture}.{tag}{Path(file).suffix}"
        )
        for file in dict.fromkeys((safe, plain))
    )
    return Entry(name, "CLIP, image and text tower", remotes, licence, f"https://huggingface.co/{repo}")


_FCCLIP = (
    _fcclip("fcclip", "ConvNeXt-L", "1-91PIns86vyNaL3CzMmDD39zKGnPMtvj"),
    _fcclip("fcclip_r50", "R50", "1tcB-8FNON-LwckXQbUyKcBA2G7TU65Zh"),
    _fcclip("fcclip_r101", "R101", "1P0mdgftReWzVbPQ0O0CSBfW3krHhTOj0"),
    _fcclip("fcclip_r50x4", "R50x4", "1nUpUsNUE22eOV9skxv9IyIkmCbg5jrIF"),
    _fcclip("fcclip_r50x16", "R50x16", "1rJu2UwwtI0VLDl9CyB8Mkgw9qHlnX70W"),
    _fcclip("fcclip_r50x64", "R50x64", "1rvfFVp5p3PZQsHp2NGVEBeYYcqgVVaZX"),
)

# The towers that the shipped models use and their siblings; `open_clip_weights` knows all of open_clip's.
# LAION and OpenAI publish all of these under MIT.
_HUB_REPOS = {
    "convnext_base:laion400m_s13b_b51k": "laion/CLIP-convnext_base-laion400M-s13B-b51K",
    "convnext_base_w:laion2b_s13b_b82k": "laion/CLIP-convnext_base_w-laion2B-s13B-b82K",
    "convnext_base_w:laion2b_s13b_b82k_augreg": "laion/CLIP-convnext_base_w-laion2B-s13B-b82K-augreg",
    "convnext_base_w:laion_aesthetic_s13b_b82k": "laion/CLIP-convnext_base_w-laion_aesthetic-s13B-b82K",
    "convnext_base_w_320:laion_aesthetic_s13b_b82k": (
        "laion/CLIP-convnext_base_w_320-laion_aesthetic-s13B-b82K"
    ),
    "convnext_base_w_320:laion_aesthetic_s13b_b82k_augreg": (
        "laion/CLIP-convnext_base_w_320-laion_aesthetic-s13B-b82K-augreg"
    ),
    "convnext_large_d_320:laion2b_s29b_b131k_ft_soup": (
        "laion/CLIP-convnext_large_d_320.laion2B-s29B-b131K-ft-soup"
    ),
    "convnext_xxlarge:laion2b_s34b_b82k_augreg_soup": (
        "laion/CLIP-convnext_xxlarge-laion2B-s34B-b82K-augreg-soup"
    ),
    "RN50:openai": "timm/resnet50_clip.openai",
    "RN101:openai": "timm/resnet101_clip.openai",
    "RN50x4:openai": "timm/resnet50x4_clip.openai",
    "RN50x16:openai": "timm/resnet50x16_clip.openai",
    "RN50x64:openai": "timm/resnet50x64_clip.openai",
    "ViT-B-16:openai": "timm/vit_base_patch16_clip_224.openai",
    "ViT-L-14:openai": "timm/vit_large_patch14_clip_224.openai",
    "ViT-H-14:laion2b_s32b_b79k": "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
}
# Meta publishes these for non-commercial use.
_METACLIP_REPOS = {
    "ViT-B-16-quickgelu:metaclip_400m": "timm/vit_base_patch16_clip_224.metaclip_400m",
    "ViT-B-16-quickgelu:metaclip_fullcc": "timm/vit_base_patch16_clip_224.metaclip_2pt5b",
    "ViT-L-14-quickgelu:metaclip_400m": "timm/vit_large_patch14_clip_224.metaclip_400m",
    "ViT-L-14-quickgelu:metaclip_fullcc": "timm/vit_large_patch14_clip_224.metaclip_2pt5b",
}
_CLIP = (
    *(_open_clip(name, repo, "MIT") for name, repo in _HUB_REPOS.items()),
    *(_open_clip(name, repo, "CC-BY-NC-4.0") for name, repo in _METACLIP_REPOS.items()),
)

_DINO = (
    Entry(
        "dino_vitb16",
        "DINO ViT-B/16, self-supervised on ImageNet",
        (
            Remote(
                "https://dl.fbaipublicfiles.com/dino/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth",
                "dino_vitbase16_pretrain.pth",
            ),
            Remote(
                "https://huggingface.co/timm/vit_base_patch16_224.dino/resolve/main/model.safetensors",
                "dino_vitbase16_pretrain.safetensors",
            ),
        ),
        "Apache-2.0",
        "https://github.com/facebookresearch/dino",
    ),
)

_SAM = tuple(
    Entry(
        f"sam_{size}",
        f"SAM {title}, image encoder, prompt encoder and mask decoder",
        (Remote(f"https://dl.fbaipublicfiles.com/segment_anything/{file}", file),),
        "Apache-2.0",
        "https://github.com/facebookresearch/segment-anything",
    )
    for size, title, file in (
        ("vit_b", "ViT-B", "sam_vit_b_01ec64.pth"),
        ("vit_l", "ViT-L", "sam_vit_l_0b3195.pth"),
        ("vit_h", "ViT-H", "sam_vit_h_4b8939.pth"),
    )
)

_TOYWORLD = tuple(
    Entry(
        f"toyworld_{name}",
        f"toyworld's {what}",
        (),
        "Apache-2.0",
        SHIPPED,
        shipped=SHIPPED_FOLDER / f"toyworld_{name}.safetensors",
    )
    for name, what in (
        ("fcclip", "FC-CLIP, the decoders and the trained classifier, without the frozen CLIP"),
        ("clip_convnext", "CLIP with a ConvNeXt, image and text tower"),
        ("clip_vit", "CLIP with a ViT/16, image and text tower"),
        ("dino", "DINO ViT/16, self-supervised"),
        ("sam", "SAM, image encoder, prompt encoder and mask decoder"),
    )
)

ZOO = {entry.name: entry for entry in (*_FCCLIP, *_CLIP, *_DINO, *_SAM, *_TOYWORLD)}
"""Every listed name, in the order that `ovseg ls weights` prints."""


def find(name: str) -> Entry:
    """The entry behind a name, listed or open_clip's.

    Raises:
        WeightsError: there is none; the message names near ones.
    """
    if name in ZOO:
        return ZOO[name]
    architecture, colon, tag = name.partition(":")
    if colon and "/" not in name:
        return open_clip_weights(architecture, tag)
    raise WeightsError(
        f"There is no weights file {Path(name).expanduser().absolute()}, and no weights are named "
        f"'{name}'.{did_you_mean(name, ZOO)} Give the path of an existing .pth or .safetensors file, or "
        f"one of: {', '.join(ZOO)}. `ovseg ls weights` describes them."
    )


def open_clip_weights(architecture: str, tag: str) -> Entry:
    """The weights that open_clip publishes under a pair of its names.

    A pair that is not in `ZOO` is looked up in the installed open_clip, which imports torch.

    Raises:
        WeightsError: open_clip has no such pair, or has it in no file that can be read as data.
    """
    name = f"{architecture}:{tag}"
    if name in ZOO:
        return ZOO[name]
    from open_clip import get_pretrained_cfg, list_pretrained

    hub = get_pretrained_cfg(architecture, tag).get("hf_hub", "")
    if not hub:
        pairs = [f"{known}:{known_tag}" for known, known_tag in list_pretrained()]
        tags = [pair for pair in pairs if pair.startswith(f"{architecture}:")]
        known = f" Tags of {architecture}: {', '.join(tags)}." if tags else ""
        raise WeightsError(
            f"open_clip has no weights '{name}' on the Hugging Face hub.{did_you_mean(name, pairs)}{known} "
            "Type architecture:tag, as in 'convnext_large_d_320:laion2b_s29b_b131k_ft_soup', or the path "
            "of a file."
        )
    repo, _, file = hub.rpartition("/")
    return _open_clip(name, repo, "see its page", hub_file=file)


def locate(entry: Entry) -> Path | None:
    """Where weights are on disk: in the package if they come with it, in the mirror if that is a folder, else
    in the cache; None if nowhere."""
    if entry.shipped is not None:
        return entry.shipped if entry.shipped.is_file() else None
    source = mirror()
    folders = (
        [weights_folder()]
        if source is None or is_server(source)
        else [Path(source).expanduser(), weights_folder()]
    )
    places = [folder / remote.file for folder in folders for remote in entry.remotes]
    return next((place for place in places if place.is_file()), None)


def mirror() -> str | None:
    """The server or folder to use instead of the publishers' servers, from `OVSEG_MIRROR`; None if unset."""
    return os.environ.get("OVSEG_MIRROR") or None


def is_server(mirror: str) -> bool:
    """Whether a mirror is a server and not a folder."""
    return mirror.startswith(("http://", "https://"))


def weights_folder() -> Path:
    """The folder that downloads go to; it need not exist."""
    return cache_folder() / "weights"


def cache_folder() -> Path:
    """The folder for everything that can be made or fetched again, from `OVSEG_CACHE`; it need not exist."""
    given = os.environ.get("OVSEG_CACHE")
    return Path(given).expanduser() if given else platformdirs.user_cache_path("ovseg", appauthor=False)
