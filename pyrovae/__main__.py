"""``python -m pyrovae`` is ``pyrovae``."""

from pyrovae.cli.program import main

if __name__ == "__main__":
    main()
