"""Peak memory of one prediction in a process of its own: ``python benchmarks/peak.py CHECKPOINT``.

The method is loaded and run as a user's process would do it, and nothing else has touched the memory before.
The text tower is loaded and encodes one name; the other classes get random embeddings, which take the same
room as real ones and no time.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "tests")]

import machine  # noqa: E402
from fcclip import Subject  # noqa: E402
from golden.scene import scene  # noqa: E402

from ovseg.models.fcclip.method import FCCLIP  # noqa: E402
from ovseg.run.load import load_method  # noqa: E402
from ovseg.types import TASKS, TextEmbeddings  # noqa: E402
from ovseg.vocabulary import Vocabulary, parse_classes  # noqa: E402


def main() -> None:
    """Predict twice with all outputs and once with the semantic one alone; print the peaks as JSON."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    device = torch.device("cpu")
    picture = scene(*arguments.size, 5)
    classes = parse_classes([f"class {number}" for number in range(arguments.classes)])
    method = load_method(
        "fcclip",
        weights=arguments.checkpoint,
        device=device,
        precision=arguments.precision,
        text_cache=False,
        overrides=Subject(picture, arguments.short_side, classes).overrides,
    )
    assert isinstance(method, FCCLIP)
    method.embed(method.backbone, parse_classes(["cat"]))
    embeddings = _random_embeddings(classes, method.backbone.spec.embed_dim)
    method.embed = lambda encoder, vocabulary: embeddings
    report = {}
    for name, tasks in (("first", TASKS), ("later", TASKS), ("semantic_alone", ("semantic",))):
        machine.reset_peak(device)
        seconds = dict(method.predict_batch([picture], classes, tasks=tasks)[0].seconds)
        report[name] = {"peak_gb": machine.peak_gb(device), "outputs_seconds": seconds["outputs"]}
    print(json.dumps(report))


def _random_embeddings(classes: Vocabulary, dimensions: int) -> TextEmbeddings:
    rows = torch.randn(len(classes), dimensions, generator=torch.Generator().manual_seed(0))
    return TextEmbeddings(
        rows=F.normalize(rows, dim=-1),
        class_of_row=torch.arange(len(classes)),
        is_seen=torch.zeros(len(classes), dtype=torch.bool),
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint")
    parser.add_argument("--classes", type=int, default=133)
    parser.add_argument("--size", nargs=2, type=int, default=[512, 683], metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--short-side", type=int, metavar="PIXELS", help="of the network input; see speed.py")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
