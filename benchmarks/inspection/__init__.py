"""How well `embedx inspect` finds what it looks for."""
