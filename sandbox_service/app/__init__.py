"""The composition root: command line, settings, wiring, and the server's life."""
