"""``ovseg evaluate``: a method and a data set in, published metrics out."""

from collections.abc import Sequence
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from ovseg.cli.hydra_verb import run_verb
from ovseg.config import strict
from ovseg.errors import ConfigError
from ovseg.schema import EvaluateConfig
from ovseg.suggest import did_you_mean, listed

HELP = r"""ovseg evaluate: a method's numbers on a data set, by the published protocols.

  ovseg evaluate model=METHOD dataset=DATASET [key=value ...] [group=option ...]

Examples
  ovseg evaluate model=fcclip dataset=ade20k
  ovseg evaluate model=trident dataset=voc21 dataset.root=/data runtime.device=cuda
  ovseg evaluate model=fcclip dataset=coco_panoptic evaluator=[mean_iou] limit=100 output=runs/try
  ovseg evaluate model=fcclip dataset=folder dataset.root=my_data
  ovseg evaluate -m model=fcclip,trident dataset=ade20k,voc21
  torchrun --nproc-per-node 4 -m ovseg evaluate model=fcclip dataset=ade20k

What happens
  The data set brings its classes, in the words that methods are evaluated with, and the method's official
  settings for them (the recipe). Numbers go to OUTPUT/metrics.json with all that they depend on, a page for
  people to report.md, a line per picture to per_image.jsonl. A run that was stopped goes on when it is
  started again, with any number of processes; the numbers are the same to the last digit (on a CPU: with the
  same runtime.threads, which torchrun sets to 1). Pictures that cannot be evaluated are left out and named;
  the exit code is then 1.

Keys
  output          folder of the run; without it: runs/<dataset>/<model>
  dataset.root    the folder of the data set; 'ovseg ls datasets' shows where it is looked for. OVSEG_DATA is
                  the folder of all of them
  dataset.*       split and other arguments of the data set
  limit           evaluate only the first pictures, that many
  tasks           views that the method is asked for; without it: all that the data set has truth for. Some
                  methods give other results where fewer are asked for
  resume          go on where an earlier run of the same settings stopped; false: start afresh
  predictions     also keep the predictions, as 'ovseg predict' writes them
  evaluator       auto: all that the data set has truth for; or a list: [panoptic_quality,mean_iou]
  evaluator.*.resamples   of the 95 % bootstrap intervals over pictures; 0: none
  runtime.*       device (auto, cpu, cuda, cuda:1), precision (fp32, bf16, fp16), seed, threads, text_cache,
                  workers (processes that compare with the truth beside the model)
  model.*         arguments of the method and its parts: model.short_side=640, model.weights=FILE
  vocabulary.*    names (fcclip, plain, trident) and templates (vild, imagenet, a list) of the classes

Groups
GROUPS

Flags
  --cfg job       print the composed config instead of running (--resolve: with interpolations resolved)
  -m              run once per combination of values with commas; hydra/launcher=joblib or submitit_slurm
                  (pip install 'ovseg[launchers]') run them beside each other or on a cluster; on a cluster
                  give hydra.sweep.dir=FOLDER, one that all machines see
  --config-dir D  also look for YAML of your own in the folder D
  --hydra-help    everything else that Hydra can do

'ovseg check data' says what is missing or wrong in a data set, 'ovseg prepare' makes what its download lacks,
'ovseg compare' puts runs side by side."""


def main(argv: Sequence[str]) -> int:
    """Run the verb on the words after it and return the exit code."""
    return run_verb("evaluate", HELP, argv, lambda config: evaluate(strict(config, EvaluateConfig)))


def evaluate(settings: EvaluateConfig) -> int:
    """Evaluate inside a run of Hydra; what is quick to check comes before what takes long.

    Returns:
        0, or 1 when a picture was left out.

    Raises:
        OvsegError: the data set, the model, the vocabulary, the evaluators or the folder are not usable.
    """
    model, dataset, recipe = (chosen(group) for group in ("model", "dataset", "recipe"))
    chosen("vocabulary")
    if model is None or dataset is None:
        raise ConfigError("Choose a method and a data set: ovseg evaluate model=fcclip dataset=ade20k.")

    # Not at the top: torch takes seconds to import, which --help, --cfg and misspelt keys need not wait for.
    from ovseg.run.plan import make_plan

    plan = make_plan(settings)

    from ovseg.run.evaluation import Choices, run_evaluation
    from ovseg.run.processes import processes_of

    folder = Path(settings.output or f"runs/{dataset}/{model}")
    return run_evaluation(settings, plan, Choices(model, dataset, recipe), folder, processes_of())


def chosen(group: str) -> str | None:
    """The option that was composed; None if the group's default is one that need not exist, and does not.

    Raises:
        ConfigError: an option that does not exist was asked for, which Hydra overlooks in such groups.
    """
    choice = HydraConfig.get().runtime.choices.get(group)
    options = GlobalHydra.instance().config_loader().get_group_options(group)
    if choice in options:
        return str(choice)
    typed = [
        word.partition("=")[2] for word in HydraConfig.get().overrides.task if word.startswith(f"{group}=")
    ]
    if typed:
        raise ConfigError(
            f"{group}={typed[-1]}: there is no such option.{did_you_mean(typed[-1], options)} Options of "
            f"{group}: {listed(options)}."
        )
    return None
