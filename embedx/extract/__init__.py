"""Extraction: a job cuts the manifest into units, a runner embeds them, the job writes the store."""
