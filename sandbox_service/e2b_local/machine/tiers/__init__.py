"""What separates a sandbox from this machine: ways that may work, and the best that does."""
