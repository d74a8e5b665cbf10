"""Attack pyrovae and count what it withstands: ``python scripts/attack --quick``, or ``make attack``."""

from __future__ import annotations

import argparse
import importlib
import shutil
import sys
import tempfile
import time
from pathlib import Path

import world
from report import limit, table

KINDS = {"lines": 12, "files": 6, "kills": 1, "faults": 6}
"""Kind -> attempts of its short form."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="some attempts of each kind only")
    parser.add_argument("--only", choices=KINDS, help="one kind")
    parser.add_argument("--seed", type=int, default=0, help="of what is tried, in which order, and when")
    parser.add_argument("--count", type=int, help="attempts of each kind, at most")
    parser.add_argument("--minutes", type=float, help="of each kind, at most")
    given = parser.parse_args()
    counts, began = [], time.monotonic()
    with tempfile.TemporaryDirectory(prefix="attack-") as home:
        world.build(Path(home) / "world")
        for kind in [given.only] if given.only else KINDS:
            folder = shutil.copytree(Path(home) / "world", Path(home) / kind / "here")
            limit(None if given.minutes is None else 60 * given.minutes)
            counts += importlib.import_module(kind).run(folder, given.count or (KINDS[kind] if given.quick else None), given.seed)
    print(table(counts))
    print(f"\n{time.monotonic() - began:.0f} seconds")
    return 0 if all(count.perfect for count in counts) else 1


if __name__ == "__main__":
    sys.exit(main())
