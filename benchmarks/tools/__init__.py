"""Writing results down, drawing and comparing them: what every suite uses."""
