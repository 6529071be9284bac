"""What turns samples into frames: the wav2vec2 family, and log-mel statistics as the control."""
