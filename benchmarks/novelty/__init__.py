"""Whether a model can tell that it does not know a sound, and whether like sounds are found."""
