"""Write the generated tables between their markers in Markdown files: `python scripts/tables.py FILE ...`."""

from __future__ import annotations

import sys
from pathlib import Path

from pyrovae.cli.tables import filled

for name in sys.argv[1:]:
    path = Path(name)
    path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
