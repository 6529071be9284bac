"""Extraction on a cluster: what one driver and one writer take in, and how work scales with workers."""
