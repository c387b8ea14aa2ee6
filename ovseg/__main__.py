"""``python -m ovseg`` is ``ovseg``."""

import sys

from ovseg.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
