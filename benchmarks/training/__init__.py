"""How the bundled encoder `embedx/assets/tiny` came to be: its shape, what it hears, its targets, its training."""
