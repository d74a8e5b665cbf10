"""``python scripts/figures.py ...`` is ``pyrovae figures ...``."""

import sys

from pyrovae.cli.program import main

main(["figures", *sys.argv[1:]])
