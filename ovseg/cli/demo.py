"""``ovseg demo``: FC-CLIP and Trident on toyworld, from nothing but the installation."""

from collections.abc import Mapping, Sequence

from ovseg.cli.compare import main as compare

HELP = r"""ovseg demo: FC-CLIP and Trident side by side on toyworld. Needs no download, no network and no GPU.

  ovseg demo [key=value ...]

Examples
  ovseg demo                                         a minute or two on two cores
  ovseg demo limit=200 output=runs/demo_200          all pictures of the split val
  ovseg demo models=[fcclip_toyworld,sam_convclip_toyworld,trident_toyworld,maskclip_toyworld]

What happens
  toyworld's pictures are drawn as they are asked for, and small models that come with ovseg segment them. It
  is 'ovseg compare' with the keys below; what is typed takes their place, and all other keys of
  'ovseg compare --help' work too. The table goes to the terminal, the page with pictures to
  OUTPUT/index.html, each method's run to OUTPUT/<method>. Run again, it keeps the runs that are there.

Keys
KEYS"""

OUTPUT = "runs/demo"

WORDS: Mapping[str, str] = {
    "models": "[fcclip_toyworld,trident_toyworld]",
    "dataset": "toyworld",
    "limit": "24",
    "pictures": "12",
}
"""What `ovseg compare` is told where nobody says otherwise."""


def main(argv: Sequence[str]) -> int:
    """Compare with `WORDS` in the place of what is not said, and return the exit code."""
    if "--help" in argv or "-h" in argv:
        print(HELP.replace("KEYS", _keys()))
        return 0
    given = {word.partition("=")[0]: word.partition("=")[2] for word in argv if "=" in word}
    output = given.get("output", OUTPUT)
    wanted = {**WORDS, "output": output, "into": output}
    return compare([*argv, *(f"{key}={value}" for key, value in wanted.items() if key not in given)])


def _keys() -> str:
    shown = {**WORDS, "output": OUTPUT, "into": "as output: the folder of the runs"}
    return "\n".join(f"  {key:<10} {value}" for key, value in shown.items())
