"""``python -m embedx`` is the command ``embedx`` (torchrun starts it so).

``-m`` lets Python import from the current folder before all others, so a folder of recordings that holds a
``json.py`` would run it: unless embedx itself lies there, that folder is taken out before anything is imported.
"""

import os
import sys

if __name__ == "__main__":
    own = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if not sys.flags.safe_path and os.path.abspath(sys.path[0]) == os.getcwd() != own:
        del sys.path[0]

    from embedx.cli import entry

    entry()
