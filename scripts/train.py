"""``python scripts/train.py ...`` is ``pyrovae train ...``."""

import sys

from pyrovae.cli import main

main(["train", *sys.argv[1:]])
