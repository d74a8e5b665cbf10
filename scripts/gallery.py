"""Draw the pictures of docs/gallery.md: `python scripts/gallery.py PICTURE ... --data-root FOLDER --out FOLDER`."""

from gallery.program import main

main()
