"""Speed of ovseg on this machine: ``python benchmarks/speed.py SUBJECT --json FILE``.

Every figure is a ratio of medians taken in turns in one process, because machines differ and drift. What each
is divided by is said in the module of the same name beside this file. Weights are random: they decide no
time.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import torch

# The subjects are scripts beside this one, and draw their pictures with the tests' golden scenes.
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "tests")]

import evaluation  # noqa: E402
import fcclip  # noqa: E402
import machine  # noqa: E402
import text  # noqa: E402
import training  # noqa: E402
import trident  # noqa: E402
from golden.scene import scene  # noqa: E402

from ovseg.vocabulary import load_vocabulary  # noqa: E402


def main() -> None:
    """Measure one subject, print it, and write it to a file if asked."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    measured = SUBJECTS[arguments.subject](arguments)
    record = json.dumps({"machine": machine.describe(), **measured}, indent=2)
    print(record)
    if arguments.json:
        arguments.json.write_text(record + "\n")


def _text(arguments: argparse.Namespace) -> dict[str, object]:
    return {"text": text.measure(device=arguments.device, runs=arguments.repeats)}


def _fcclip(arguments: argparse.Namespace) -> dict[str, object]:
    device = torch.device(arguments.device)
    on_cpu = device.type == "cpu"
    size = arguments.size or ([512, 683] if on_cpu else [1024, 1024])
    subject = fcclip.Subject(scene(*size, 5), arguments.short_side, load_vocabulary(arguments.vocabulary))
    speeds = {}
    record: dict[str, object] = {
        "picture": size,
        "short_side": arguments.short_side or min(size),
        "vocabulary": arguments.vocabulary,
        "fcclip": speeds,
    }
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = fcclip.save_checkpoint(Path(folder))
        if arguments.busy:
            record["products_floor"] = fcclip.products_floor(
                subject, checkpoint=checkpoint, rounds=arguments.repeats, clock=time.process_time
            )
            return record
        for precision in arguments.precisions or (["fp32", "bf16"] if on_cpu else ["fp32", "fp16", "bf16"]):
            speeds[precision] = fcclip.measure(
                subject,
                checkpoint=checkpoint,
                precision=precision,
                device=device,
                repeats=arguments.repeats,
            )
        if on_cpu:
            seconds = next(iter(speeds.values()))["trunk_seconds"]
            record["floor"] = fcclip.floor(subject, checkpoint=checkpoint, trunk_seconds=seconds)
            record["products_floor"] = fcclip.products_floor(
                subject, checkpoint=checkpoint, rounds=arguments.repeats, clock=time.perf_counter
            )
            record["bf16_agreement"] = fcclip.bf16_agreement(Path(folder))
    return record


def _trident(arguments: argparse.Namespace) -> dict[str, object]:
    size = arguments.size or [448, 592]
    with tempfile.TemporaryDirectory() as folder:
        weights = trident.Weights(Path(folder))
        if arguments.busy:
            busy = trident.products_floor(
                weights=weights, size=size, rounds=arguments.repeats, clock=time.process_time
            )
            return {"picture": size, "products_floor": busy}
        speeds = {
            precision: trident.measure(
                weights=weights, precision=precision, size=size, repeats=arguments.repeats
            )
            for precision in arguments.precisions or ["fp32", "bf16"]
        }
        seconds = next(iter(speeds.values()))["encoder_seconds"]
        return {
            "picture": size,
            "trident": speeds,
            "floor": trident.floor(weights=weights, size=size, encoder_seconds=seconds),
            "products_floor": trident.products_floor(
                weights=weights, size=size, rounds=arguments.repeats, clock=time.perf_counter
            ),
            "bf16_agreement": trident.bf16_agreement(Path(folder)),
        }


def _training(arguments: argparse.Namespace) -> dict[str, object]:
    precision = arguments.precisions[0] if arguments.precisions else None
    return {
        "training": training.measure(device=arguments.device, repeats=arguments.repeats, precision=precision)
    }


def _evaluation(arguments: argparse.Namespace) -> dict[str, object]:
    size = arguments.size or [512, 683]
    return {"picture": size, "milliseconds": evaluation.measure(size=size, pictures=20)}


SUBJECTS = {
    "fcclip": _fcclip,
    "trident": _trident,
    "text": _text,
    "training": _training,
    "evaluation": _evaluation,
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("subject", choices=[*SUBJECTS])
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precisions", nargs="+", choices=["fp32", "fp16", "bf16"])
    parser.add_argument("--size", nargs=2, type=int, metavar=("HEIGHT", "WIDTH"), help="of the picture")
    parser.add_argument(
        "--short-side",
        type=int,
        metavar="PIXELS",
        help="of FC-CLIP's network input, 800 in its published settings; as large as the picture if left out",
    )
    parser.add_argument("--vocabulary", default="coco_panoptic")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--busy",
        action="store_true",
        help="on a machine with other work: only the floor of the products, by this process's processor time",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
