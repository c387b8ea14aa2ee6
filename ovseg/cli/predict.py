"""``ovseg predict``: pictures and class names in, masks out."""

from collections.abc import Sequence

from omegaconf import DictConfig

from ovseg.cli.hydra_verb import run_verb
from ovseg.config import strict
from ovseg.schema import PredictConfig


def main(argv: Sequence[str]) -> int:
    """Run the verb on the words after it and return the exit code."""
    return run_verb("predict", argv, _predict)


def _predict(config: DictConfig) -> int:
    settings = strict(config, PredictConfig)
    # Here and not above: torch takes seconds to import, which --help, --cfg and typos need not wait for.
    from ovseg.run.predict import run

    return run(settings)
