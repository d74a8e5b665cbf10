"""``python scripts/evaluate.py ...`` is ``pyrovae evaluate ...``."""

import sys

from pyrovae.cli.program import main

main(["evaluate", *sys.argv[1:]])
