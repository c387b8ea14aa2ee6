"""Tab completion in bash: ``eval "$(ovseg completion bash)"``, for this shell or in ``~/.bashrc``."""

import os
import sys
from collections.abc import Sequence

from ovseg.cli.main import MISUSED, VERBS
from ovseg.errors import OvsegError

HYDRA_VERBS = ("predict", "evaluate", "compare", "train")

USAGE = """ovseg completion: tab completion of verbs, groups, options, keys and values

  eval "$(ovseg completion bash)"       in this shell; in ~/.bashrc for every shell
  ovseg completion uninstall=bash       prints what turns it off"""

# Readline replaces only what stands behind the last of COMP_WORDBREAKS, and the candidates are whole words:
# the part before it is cut off. Candidates that end a word get a blank, those that go on (=, . and /) do not.
SCRIPT = """_ovseg() {
    local line="${COMP_LINE:0:COMP_POINT}" word head IFS=$'\\n'
    word="${line##*[[:space:]]}"
    export COMP_LINE COMP_POINT
    COMPREPLY=($("${COMP_WORDS[0]}" completion query 2>/dev/null))
    [[ ${#COMPREPLY[@]} == 1 && "${COMPREPLY[0]}" != *[=./] ]] && COMPREPLY[0]+=" "
    if [[ "$word" == *=* && "$COMP_WORDBREAKS" == *=* ]]; then
        head="${word%"${word##*=}"}"
        COMPREPLY=("${COMPREPLY[@]#"$head"}")
    fi
}
complete -o nospace -o default -F _ovseg ovseg"""


def main(argv: Sequence[str]) -> int:
    """Print the script, or answer what the script asks.

    Also takes the words of Hydra's own completion: ``install=bash``, ``uninstall=bash``, ``query=bash``.
    """
    word = argv[0] if len(argv) == 1 else ""
    if word in ("bash", "install=bash"):
        print(SCRIPT)
    elif word == "uninstall=bash":
        print("complete -r ovseg; unset -f _ovseg")
    elif word in ("query", "query=bash"):
        line = os.environ.get("COMP_LINE", "")
        point = os.environ.get("COMP_POINT", "")
        print("\n".join(candidates(line[: int(point)] if point.isdigit() else line)))
    elif word in ("-h", "--help"):
        print(USAGE)
    else:
        print(f"ovseg completion knows bash only.\n\n{USAGE}", file=sys.stderr)
        return MISUSED
    return 0


def candidates(line: str) -> list[str]:
    """What could stand where a command line ends, as whole words.

    Args:
        line: from the program's name to the cursor.
    """
    words = line.split()
    word = "" if line[-1:].isspace() else words.pop()
    before = words[1:]
    if not before:
        return [
            verb
            for verb in (*VERBS, "--help", "--version")
            if verb.startswith(word) and (word or verb in VERBS)
        ]
    verb = before[0]
    if verb in HYDRA_VERBS:
        return _of_hydra(verb, " ".join([*before[1:], word]))
    try:
        return [name for name in _of_verb(verb) if name.startswith(word)]
    except OvsegError:
        return []


def _of_verb(verb: str) -> Sequence[str]:
    if verb == "ls":
        from ovseg.cli.ls import KINDS

        return tuple(KINDS)
    if verb == "download":
        from ovseg.weights.zoo import ZOO

        return tuple(ZOO)
    return ("bash",) if verb == "completion" else ()


def _of_hydra(verb: str, line: str) -> list[str]:
    """Hydra's answer for the words behind a verb."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.plugins.completion_plugin import DefaultCompletionPlugin

    from ovseg.config import hydra_session

    with hydra_session():
        plugin = DefaultCompletionPlugin(GlobalHydra.instance().config_loader())
        found = plugin._query(config_name=verb, line=line)
    # A candidate that adds nothing would keep bash from completing file names, as in "input=".
    return [candidate for candidate in found if candidate != line.split(" ")[-1]]
