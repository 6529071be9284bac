"""``python -m embedx`` is the command ``embedx`` (torchrun starts it so)."""

from embedx.cli import entry

if __name__ == "__main__":
    entry()
