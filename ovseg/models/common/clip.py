"""open_clip's models and tokenizers by architecture, without weights."""

import inspect
import json
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer

from ovseg.errors import ConfigError, WeightsError


def build_clip(architecture: str, *, openai: bool) -> tuple[open_clip.CLIP, SimpleTokenizer]:
    """A CLIP without its weights (uninitialised or random, as the ``torch.device`` has it), and a tokenizer.

    Args:
        architecture: a name of ``open_clip.list_models()``, or the path of a JSON file in open_clip's own
            format.
        openai: the weights to come are OpenAI's, whose towers use QuickGELU whatever the architecture file
            says.

    Raises:
        ConfigError: the architecture is unknown, not of the plain two-tower kind, or its file is damaged.
    """
    config = _clip_config(architecture)
    foreign = set(config).difference(inspect.signature(open_clip.CLIP).parameters)
    foreign.update({"hf_model_name", "hf_tokenizer_name"}.intersection(config["text_cfg"]))
    if foreign:
        raise ConfigError(
            f"The CLIP architecture '{architecture}' is not of open_clip's plain two-tower kind: it has "
            f"{', '.join(sorted(foreign))}. ovseg supports for example convnext_large_d_320 and RN50."
        )
    config["quick_gelu"] = bool(config.get("quick_gelu")) or openai
    clip = open_clip.CLIP(**config)
    return clip, SimpleTokenizer(context_length=config["text_cfg"].get("context_length", 77))


def clip_state(state: dict[str, torch.Tensor], *, source: str) -> dict[str, torch.Tensor]:
    """Drop what open_clip's files may hold beside the parameters of `open_clip.CLIP`.

    Raises:
        WeightsError: the file holds no CLIP.
    """
    state = {key: value for key, value in state.items() if key not in _EXTRAS}
    if "token_embedding.weight" not in state:
        raise WeightsError(
            f"{source} is no CLIP of open_clip: it has no 'token_embedding.weight'. "
            "Give the file of a model with an image and a text tower."
        )
    return state


_EXTRAS = ("input_resolution", "context_length", "vocab_size", "attn_mask")
_REQUIRED = frozenset(("embed_dim", "vision_cfg", "text_cfg"))


def _clip_config(architecture: str) -> dict[str, Any]:
    path = Path(architecture)
    if path.suffix == ".json":
        if not path.is_file():
            raise ConfigError(f"The CLIP architecture file '{path}' does not exist.")
        return _read_config(path)
    known = open_clip.get_model_config(architecture)
    if known is None:
        near = get_close_matches(architecture, open_clip.list_models(), n=3)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise ConfigError(
            f"open_clip has no architecture '{architecture}'.{hint} "
            "`python -c 'import open_clip; print(open_clip.list_models())'` lists all."
        )
    return dict(known)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text())
    except ValueError as error:
        raise ConfigError(f"The CLIP architecture file '{path}' is no JSON: {error}.") from error
    lacking = _REQUIRED.difference(config) if isinstance(config, dict) else _REQUIRED
    if lacking:
        raise ConfigError(
            f"The CLIP architecture file '{path}' lacks {', '.join(sorted(lacking))}. It must look like "
            "one of open_clip's own files in open_clip/model_configs."
        )
    return dict(config)
