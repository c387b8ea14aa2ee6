"""FC-CLIP's decoders, as ``ovseg train`` leaves them, to the small file that comes inside the package.

ovseg train model=fcclip_toyworld dataset=toyworld
python benchmarks/toyworld/fcclip.py runs/train/toyworld/fcclip_toyworld/model.pth
"""

import argparse
from pathlib import Path

from export import export

from ovseg.models.fcclip.weights import CRITERION, OFFICIAL_CLIP
from ovseg.weights.checkpoint import read_state_dict
from ovseg.weights.shipped import FOLDER


def main() -> None:
    """Leave out the frozen CLIP, which has a file of its own, and the loss's buffer."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument(
        "--folder", type=Path, default=FOLDER, help="that the file goes to; else the package's"
    )
    given = parser.parse_args()
    state = read_state_dict(given.checkpoint)
    trained = {
        key: tensor for key, tensor in state.items() if not key.startswith(OFFICIAL_CLIP) and key != CRITERION
    }
    print(export(trained, "toyworld_fcclip", given.folder))


if __name__ == "__main__":
    main()
