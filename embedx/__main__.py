"""``python -m embedx`` is the command ``embedx`` (torchrun starts it so)."""

import sys

from embedx.cli import main

if __name__ == "__main__":
    sys.exit(main())
