"""``python scripts/sample.py ...`` is ``pyrovae sample ...``."""

import sys

from pyrovae.cli.program import main

main(["sample", *sys.argv[1:]])
