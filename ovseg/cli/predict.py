"""``ovseg predict``: pictures and class names in, masks out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from ovseg.cli.hydra_verb import run_verb
from ovseg.config import strict
from ovseg.schema import PredictConfig, VocabularyConfig
from ovseg.vocabulary import Names, Vocabulary, as_vocabulary, load_vocabulary

HELP = r"""ovseg predict: name the classes, get semantic, panoptic and instance masks of pictures.

  ovseg predict input=PATH output=FOLDER [key=value ...] [group=option ...]

Examples
  ovseg predict input=cat.jpg output=masks classes='[cat, dog|puppy, stuff:grass]'
  ovseg predict input='photos/*.png' output=masks vocabulary=ade20k_150 tasks='[semantic]'
  ovseg predict input=list.txt output=masks model=fcclip_r50 runtime.device=cuda runtime.precision=bf16
  ovseg predict -m input=cat.jpg model=fcclip,fcclip_r50 output='masks/${hydra:runtime.choices.model}'

Keys
  input           a picture, a folder, a glob, a .txt file with one path per line, or a list of these
  output          folder for the results; made when missing
  classes         your own classes, a list or a .txt, .json or .yaml file; without it: the vocabulary.
                  a|b are synonyms, stuff:x is uncountable. Names with commas or apostrophes take quotes:
                  classes='[cat, "salt, pepper"]'   classes="[\"driver's seat\", cat]"
  tasks           which of semantic, panoptic, instance to write
  batch_size      pictures of one size that are computed together
  resume          skip pictures that are already in the output folder
  overlay         also draw the classes over each picture
  runtime.*       device (auto, cpu, cuda, cuda:1), precision (fp32, bf16, fp16), seed, threads, text_cache
  model.*         arguments of the method and its parts: model.short_side=640, model.weights=FILE
  vocabulary.*    names (fcclip, plain, trident) and templates (vild, imagenet, a list) of the built-in list

Groups
GROUPS

Flags
  --cfg job       print the composed config instead of running (--resolve: with interpolations resolved)
  -m              run once per combination of values with commas
  --config-dir D  also look for YAML of your own in the folder D
  --hydra-help    everything else that Hydra can do

'ovseg ls' describes models, parts, vocabularies and weights."""


def main(argv: Sequence[str]) -> int:
    """Run the verb on the words after it and return the exit code."""
    return run_verb("predict", HELP, argv, lambda config: predict(strict(config, PredictConfig)))


def predict(settings: PredictConfig) -> int:
    """Segment the pictures; what is quick to check comes before what takes long.

    Returns:
        0, or 1 when a picture could not be read.

    Raises:
        OvsegError: the classes, the pictures, the model or the output folder are not usable.
    """
    # Not at the top: torch takes seconds to import, which --help, --cfg and misspelt keys need not wait for.
    from ovseg.data.find import find_images

    vocabulary = choose_vocabulary(settings.classes, settings.vocabulary)
    pictures = find_images(settings.input)

    import torch

    from ovseg.interfaces import Precision
    from ovseg.run.load import load_method
    from ovseg.run.predict import predict_files
    from ovseg.types import Task

    runtime = settings.runtime
    if runtime.threads is not None:
        torch.set_num_threads(runtime.threads)
    method = load_method(
        settings.model,
        device=runtime.device,
        precision=cast(Precision, runtime.precision),
        seed=runtime.seed,
        text_cache=runtime.text_cache,
    )
    summary = predict_files(
        method,
        vocabulary,
        inputs=pictures,
        output=Path(settings.output),
        tasks=cast(list[Task], settings.tasks),
        batch_size=settings.batch_size,
        resume=settings.resume,
        overlay=settings.overlay,
        method_settings=result_settings(settings),
    )
    print(summary)
    return summary.exit_code


def result_settings(settings: PredictConfig) -> dict[str, Any]:
    """What decides the results besides vocabulary and tasks; a resumed run must agree with it."""
    runtime = settings.runtime
    decisive: dict[str, Any] = {
        "model": settings.model,
        "precision": runtime.precision,
        "seed": runtime.seed,
    }
    weights = Path(str(settings.model.get("weights"))).expanduser()
    if weights.is_file():  # a file of the user's own may be another one tomorrow
        facts = weights.stat()
        decisive["weights_file"] = {"bytes": facts.st_size, "modified_ns": facts.st_mtime_ns}
    return decisive


def choose_vocabulary(classes: str | Sequence[object] | None, built_in: VocabularyConfig) -> Vocabulary:
    """The classes of the user's own if there are any, else the built-in list; the templates go with both.

    Raises:
        VocabularyError: the list or file cannot be read as classes.
    """
    if classes is not None:
        return as_vocabulary(classes, templates=built_in.templates)
    return load_vocabulary(
        built_in.name, names=cast("Names | None", built_in.names), templates=built_in.templates
    )
