"""Classifiers on embeddings (and one on audio), interchangeable by name."""
