"""What a larger job takes, computed from measured rates."""
