"""``ovseg train``: a method's published training, on its data set or on yours."""

import os
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from ovseg.cli.evaluate import chosen
from ovseg.cli.hydra_verb import run_verb
from ovseg.config import strict
from ovseg.schema import TrainConfig

HELP = r"""ovseg train: a method's published training, on its data set or on yours.

  ovseg train model=METHOD dataset=DATASET [key=value ...] [group=option ...]

Examples
  ovseg train model=fcclip dataset=coco_panoptic runtime.devices=8        the paper's recipe
  ovseg train model=fcclip_r50 dataset=coco_panoptic training.batch_size=4 training.learning_rate=2.5e-5
  ovseg train model=fcclip dataset=folder dataset.root=my_data model.weights=fcclip \
              training.iterations=5000 training.batch_size=2 training.evaluate_every=500     fine-tune
  torchrun --nnodes 2 --nproc-per-node 8 ... -m ovseg train model=fcclip runtime.devices=8 runtime.nodes=2

What happens
  The recipe of the method (conf/training) is run on the training part of the data set; every now and then
  the method is evaluated on dataset.split. OUTPUT/model.pth has the result and OUTPUT/best.pth that of the
  best evaluation, in the method's official layout and with the training classes, so that
  model.weights=OUTPUT/model.pth knows which classes were seen. OUTPUT/log.csv has the course. A run that was
  stopped or killed goes on when it is started again, and gives the same losses as without the interruption.

Keys
  output          folder of the run; without it: runs/train/<dataset>/<model>
  split           what is trained on; without it: train, or everything of a data set without parts
  tasks           views that the evaluations ask for; without it: all that the data set has truth for
  dataset.root    the folder of the data set; 'ovseg ls datasets' shows where it is looked for. OVSEG_DATA is
                  the folder of all of them
  dataset.split   what is evaluated on
  resume          go on where an earlier run of the same settings stopped; false: start afresh
  model.weights   parts: the frozen parts' published weights, all else at random; a file or a name of
                  'ovseg ls weights': go on from these; random: everything at random, for tests
  model.*         other arguments of the method and its parts

  training.iterations, batch_size   steps of the optimizer, and pictures per step, of all devices together
  training.accumulate               parts that a device computes its share in, one after another
  training.learning_rate, weight_decay, clip_norm
  training.drops, drop_factor       shares of the run after which the rate falls, and by what factor
  training.warmup, warmup_factor    iterations until the full rate, and the factor at the start
  training.crop, scales, flip       side of the crops, sizes against it, and how often pictures are mirrored
  training.recompute                activations again in the backward pass: less memory
  training.compile, deterministic   torch.compile; the same bits in every run
  training.save_every, log_every    iterations between checkpoints, and per row of the log
  training.evaluate_every           iterations between evaluations; 0: never
  training.evaluate_pictures        only the first, that many
  training.best                     number that decides which weights are best: panoptic_quality/PQ
  training.loggers                  [tensorboard] (pip install 'ovseg[train]'), wandb; the CSV file is always
                                    written
  training.save_frozen              also put the frozen parts into the result files
  training.options.*                the method's own; FC-CLIP: points, class_weight, mask_weight ...

  runtime.precision fp16 (fp32 without a GPU), bf16, fp32
  runtime.devices   on each machine; more than one starts as many processes. With device=cpu these share it
  runtime.nodes     machines; torchrun is started on each
  runtime.workers   processes that prepare pictures for each device
  runtime.*         device (auto, cpu, cuda, cuda:1), seed, threads, text_cache
  evaluator         auto: all that the data set has truth for; or a list: [panoptic_quality,mean_iou]
  vocabulary.*      names (fcclip, plain, trident) and templates (vild, imagenet, a list) of the classes

Groups
GROUPS

Flags
  --cfg job       print the composed config instead of running (--resolve: with interpolations resolved)
  -m              run once per combination of values with commas
  --config-dir D  also look for YAML of your own in the folder D
  --hydra-help    everything else that Hydra can do

'ovseg check data' says what is missing or wrong in a data set."""


def main(argv: Sequence[str]) -> int:
    """Run the verb on the words after it and return the exit code."""
    return run_verb("train", HELP, argv, lambda config: _train_composed(config, argv))


def _train_composed(config: DictConfig, argv: Sequence[str]) -> int:
    """Inside a run of Hydra.

    Raises:
        ConfigError: a key or an option is not known.
    """
    model, dataset = chosen("model"), chosen("dataset")
    for group in ("vocabulary", "recipe"):
        chosen(group)
    return train(strict(config, TrainConfig), default_folder=f"runs/train/{dataset}/{model}", argv=argv)


def train(settings: TrainConfig, *, default_folder: str, argv: Sequence[str]) -> int:
    """Train; what is quick to check comes before what takes long.

    Args:
        settings: of the run.
        default_folder: where no output is said.
        argv: the words that made the settings, for processes that do the same.

    Returns:
        0, or 1 when a process that was started has failed.

    Raises:
        OvsegError: the data set, the model, the vocabulary, the evaluators or the folder are not usable.
    """
    # Not at the top: torch takes seconds to import, which --help, --cfg and misspelt keys need not wait for.
    from ovseg.run.processes import Processes, processes_of
    from ovseg.run.training.plan import make_train_plan

    runtime = settings.runtime
    if "WORLD_SIZE" not in os.environ and runtime.devices * runtime.nodes > 1:
        from ovseg.run.train import launch

        make_train_plan(settings, Processes(count=runtime.devices * runtime.nodes))  # errors are said once
        return launch(list(argv), runtime.devices, runtime.nodes)

    from ovseg.run.train import run_training

    processes = processes_of()
    plan = make_train_plan(settings, processes)
    return run_training(settings, plan, Path(settings.output or default_folder), processes)
