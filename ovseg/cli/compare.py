"""``ovseg compare``: finished runs, or methods by name, side by side."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from ovseg.cli.hydra_verb import run_verb
from ovseg.config import compose_config, strict
from ovseg.schema import CompareConfig, EvaluateConfig

HELP = r"""ovseg compare: methods side by side: a table, differences with intervals, a page with pictures.

  ovseg compare models=[METHOD,METHOD,...] dataset=DATASET [key=value ...]
  ovseg compare runs=[FOLDER,FOLDER,...] [key=value ...]

Examples
  ovseg compare models=[fcclip,trident] dataset=ade20k
  ovseg compare models=[fcclip,fcclip_r50] dataset=coco_panoptic limit=100 into=runs/try
  ovseg compare runs=[runs/ade20k/fcclip,runs/ade20k/trident] baseline=trident digits=2
  ovseg compare runs=[runs/a,runs/b] dataset=folder dataset.root=moved_data

What happens
  Methods that have no finished run of these settings in runs/<dataset>/<method> are evaluated first, as
  'ovseg evaluate' does; a run that was stopped goes on. The comparison goes to OUTPUT: comparison.md, .csv,
  .tex and .json, and index.html, one file that can be sent to others.
  Differences are to the baseline, over the pictures that all runs have, with paired bootstrap intervals.
  Numbers that were measured by different rules get columns of their own; what else differs is said below.

Keys
  models          methods, as after model= ('ovseg ls models')
  runs            folders that 'ovseg evaluate' has written; with predictions=true there they can be shown
  output          folder of the comparison; without it: runs/compare/<dataset>
  baseline        run that differences are to; without it: the first
  pictures        how many to show: those on which the methods disagree most; 0: none
  digits          behind the point, in what people read; CSV and JSON hold all
  resamples       of the paired intervals; 0: none
  dataset.*       as for 'ovseg evaluate'; with runs it says where the pictures are now
  into            with models: folder of the runs; without it: runs/<dataset>
  limit, resume, evaluator, runtime.*   with models: as for 'ovseg evaluate'

Groups
GROUPS

Flags
  --cfg job       print the composed config instead of running
  --config-dir D  also look for YAML of your own in the folder D
  --hydra-help    everything else that Hydra can do"""

OWN_KEYS = ("models", "runs", "output", "into", "baseline", "pictures", "digits", "resamples")
"""What is not handed on to ``ovseg evaluate``."""

# What neither changes a number nor makes a run another one.
_FREE = ("output", "predictions", "resume")
_FREE_RUNTIME = ("device", "threads", "workers", "text_cache")


@dataclass(frozen=True)
class Request:
    """What was asked for: the settings, the option of the group dataset, and the words for ``evaluate``."""

    settings: CompareConfig
    dataset: str | None
    words: tuple[str, ...]


def main(argv: Sequence[str]) -> int:
    """Run the verb on the words after it and return the exit code."""
    requests: list[Request] = []

    def take(config: DictConfig) -> int:
        requests.append(_request(config))
        return 0

    # Evaluating is a run of Hydra too, and those cannot lie inside each other.
    code = run_verb("compare", HELP, argv, take)
    return max([code, *(compare(request, _config_dir(argv)) for request in requests)])


def compare(request: Request, config_dir: Sequence[str] = ()) -> int:
    """Evaluate what has to be, compare, write, print.

    Args:
        request: what was asked for.
        config_dir: the flag for YAML of the user's own and its value, or nothing.

    Returns:
        0, or 1 when an evaluation has left out pictures.

    Raises:
        OvsegError: the runs cannot be compared, read, made, or the output cannot be written.
    """
    settings = request.settings
    code, folders = 0, [Path(run) for run in settings.runs or ()]
    if settings.models:
        code, folders = _evaluated(request, config_dir)

    # Not at the top: torch takes seconds to import, which --help, --cfg and misspelt keys need not wait for.
    from ovseg.report.comparison_table import print_comparison
    from ovseg.run.compare import compare_runs
    from ovseg.run.compare_files import write_comparison
    from ovseg.run.gallery import make_gallery
    from ovseg.run.run_folder import read_run

    runs = [read_run(folder) for folder in folders]
    compared = compare_runs(runs, baseline=settings.baseline, resamples=settings.resamples)
    gallery = make_gallery(runs, compared, pictures=settings.pictures, dataset=settings.dataset or None)
    dataset = request.dataset or str(runs[0].metrics["protocol"]["dataset"]["name"])
    output = Path(settings.output or f"runs/compare/{dataset}")
    write_comparison(output, compared, gallery, digits=settings.digits)
    print_comparison(compared, settings.digits)
    print(f"page and tables in {output}: {output / 'index.html'}")
    return code


def _request(config: DictConfig) -> Request:
    chosen = HydraConfig.get()
    words = chosen.overrides.task
    handed_on = tuple(word for word in words if word.lstrip("+~").partition("=")[0] not in OWN_KEYS)
    dataset = chosen.runtime.choices.get("dataset")
    return Request(strict(config, CompareConfig), None if dataset is None else str(dataset), handed_on)


def _config_dir(argv: Sequence[str]) -> list[str]:
    flag = next((flag for flag in ("--config-dir", "-cd") if flag in argv[:-1]), None)
    return [flag, argv[argv.index(flag) + 1]] if flag else []


def _evaluated(request: Request, config_dir: Sequence[str]) -> tuple[int, list[Path]]:
    """The exit code of the evaluations and the folders of the runs, one per model.

    All configs are composed before the first model runs: a misspelt third one is found now, not hours later.
    """
    from ovseg.cli.evaluate import main as evaluate

    into = request.settings.into or f"runs/{request.dataset}"
    jobs = []
    for model in request.settings.models or ():
        words = [f"model={model}", *request.words]
        searched = [f"hydra.searchpath=['file://{Path(config_dir[1]).absolute()}']"] if config_dir else []
        wanted = asdict(strict(compose_config("evaluate", [*words, *searched]), EvaluateConfig))
        jobs.append((Path(into) / model, words, wanted))
    codes = []
    for folder, words, wanted in jobs:
        stored = _stored(folder)
        if request.settings.resume and (folder / "metrics.json").exists() and _alike(stored, wanted):
            print(f"{folder}: evaluated already")
            continue
        # A run that was begun without predictions goes on without them: its pictures are not done again.
        keep = not request.settings.resume or stored.get("predictions", True)
        codes.append(evaluate([*config_dir, *words, f"output={folder}", f"predictions={str(keep).lower()}"]))
    return max(codes, default=0), [folder for folder, _, _ in jobs]


def _stored(folder: Path) -> dict[str, Any]:
    """The config of a run; empty if there is none that can be read."""
    try:
        content = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def _alike(stored: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether two configs of evaluations give the same numbers."""

    def decisive(config: dict[str, Any]) -> dict[str, Any]:
        kept = {key: value for key, value in config.items() if key not in _FREE}
        runtime = dict(kept.get("runtime") or {})
        return {**kept, "runtime": {key: runtime[key] for key in runtime if key not in _FREE_RUNTIME}}

    return decisive(stored) == decisive(yaml.safe_load(yaml.safe_dump(wanted)))
