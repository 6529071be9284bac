"""From a file to windows of 16 kHz mono samples in batches: numpy only, no torch."""
