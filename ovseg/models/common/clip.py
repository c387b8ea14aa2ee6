"""open_clip's models and tokenizers by architecture, without weights."""

import inspect
import json
import logging
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer

from ovseg.errors import ConfigError, WeightsError
from ovseg.weights import zoo
from ovseg.weights.shipped import architecture_file

logger = logging.getLogger(__name__)


def build_clip(architecture: str, pretrained: str | None = None) -> tuple[open_clip.CLIP, SimpleTokenizer]:
    """A CLIP without its weights (uninitialised or random, as the ``torch.device`` has it), and a tokenizer.

    Args:
        architecture: a name of ``open_clip.list_models()``, one that comes with ovseg (``toyworld_clip_vit``)
            or the path of a JSON file in open_clip's own format. Where that names a file of merges
            (``text_cfg.tokenizer_kwargs.bpe_path``), it is looked for beside the JSON file.
        pretrained: the weights to come: a tag of open_clip, a listed name or the path of a file. Where
            open_clip knows that they need QuickGELU, the towers get it whatever the architecture's file says.

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
    config["quick_gelu"] = bool(config.get("quick_gelu")) or _need_quick_gelu(architecture, pretrained)
    clip = open_clip.CLIP(**config)
    return clip, _tokenizer(architecture, config["text_cfg"])


def _need_quick_gelu(architecture: str, pretrained: str | None) -> bool:
    """Whether weights are published as made for QuickGELU; a line in the log where only the user can know."""
    if pretrained is None:
        return False
    of_name, _, tag = pretrained.rpartition(":") if pretrained in zoo.ZOO else (architecture, "", pretrained)
    if tag == "openai":
        return True
    published = open_clip.get_pretrained_cfg(of_name, tag)
    quick = f"{architecture}-quickgelu"
    if not published and quick in open_clip.list_models():
        logger.warning(
            "%s: a file does not say its activation; GELU is used, as %s has it. Weights of OpenAI, MetaCLIP "
            "and DFN need QuickGELU: for these give the backbone architecture=%s.",
            pretrained,
            architecture,
            quick,
        )
    return bool(published.get("quick_gelu"))


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


OPENAI_TOKENS = 49408
_EXTRAS = ("input_resolution", "context_length", "vocab_size", "attn_mask")
_REQUIRED = frozenset(("embed_dim", "vision_cfg", "text_cfg"))


def _tokenizer(architecture: str, text_cfg: Mapping[str, Any]) -> SimpleTokenizer:
    """OpenAI's, or that of the architecture's own merges.

    Raises:
        ConfigError: the file of merges does not exist, or makes another number of tokens than the tower has.
    """
    options = dict(text_cfg.get("tokenizer_kwargs") or {})
    folder = _file(architecture).parent
    if "bpe_path" in options:
        options["bpe_path"] = str(folder / options["bpe_path"])
        if not Path(options["bpe_path"]).is_file():
            raise ConfigError(
                f"The merges '{options['bpe_path']}' of the CLIP architecture '{architecture}' do not exist. "
                "Put them beside its file, or take text_cfg.tokenizer_kwargs.bpe_path out of it."
            )
    tokenizer = SimpleTokenizer(context_length=text_cfg.get("context_length", 77), **options)
    # The tower reads a prompt at its largest id, which is the end token's.
    tokens, embedded = tokenizer.eot_token_id + 1, text_cfg.get("vocab_size", OPENAI_TOKENS)
    if tokens != embedded:
        raise ConfigError(
            f"The CLIP architecture '{architecture}' has text_cfg.vocab_size={embedded}, and its tokenizer "
            f"makes {tokens} tokens. Write vocab_size={tokens}, or give it its own merges as "
            "text_cfg.tokenizer_kwargs.bpe_path."
        )
    return tokenizer


def _file(architecture: str) -> Path:
    return architecture_file(architecture) or Path(architecture)


def _clip_config(architecture: str) -> dict[str, Any]:
    path = _file(architecture)
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
