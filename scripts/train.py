"""``python scripts/train.py ...`` is ``pyrovae train ...``."""

import sys

from pyrovae.cli.program import main

main(["train", *sys.argv[1:]])
