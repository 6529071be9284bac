"""Folds, metrics, intervals and tests: what a score is and how far it can be trusted."""
