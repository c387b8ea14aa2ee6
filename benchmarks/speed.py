"""Speed of ovseg on this machine: ``python benchmarks/speed.py {fcclip,text} --json FILE``.

Every figure is a ratio of two medians taken in turns in one process, because machines differ and drift. What each
is divided by is said in the module of the same name beside this file. Weights are random: they decide no time.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import torch

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "tests")]

import fcclip
import machine
import text


def main() -> None:
    """Measure one subject, print it, and write it to a file if asked."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    record = {"machine": machine.describe(), **_measure(arguments)}
    print(json.dumps(record, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=2) + "\n")


def _measure(arguments: argparse.Namespace) -> dict[str, object]:
    if arguments.subject == "text":
        return {"text": text.measure(device=arguments.device, runs=arguments.repeats)}
    device = torch.device(arguments.device)
    height, width = arguments.size or ((512, 683) if device.type == "cpu" else (1024, 1024))
    speeds: dict[str, object] = {}
    for precision in arguments.precisions or (["fp32", "bf16"] if device.type == "cpu" else ["fp32", "fp16", "bf16"]):
        speeds[precision] = fcclip.measure(
            precision=precision,
            device=device,
            height=height,
            width=width,
            repeats=arguments.repeats,
            vocabulary=arguments.vocabulary,
        )
    record: dict[str, object] = {"picture": [height, width], "vocabulary": arguments.vocabulary, "fcclip": speeds}
    if device.type == "cpu":
        with tempfile.TemporaryDirectory() as folder:
            record["bf16_agreement"] = fcclip.bf16_agreement(Path(folder))
    return record


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("subject", choices=["fcclip", "text"])
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precisions", nargs="+", choices=["fp32", "fp16", "bf16"])
    parser.add_argument("--size", nargs=2, type=int, metavar=("HEIGHT", "WIDTH"), help="of the picture, in pixels")
    parser.add_argument("--vocabulary", default="coco_panoptic")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
