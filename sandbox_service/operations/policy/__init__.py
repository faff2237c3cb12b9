"""The code policy: a lint over what is about to run. Isolation, not it, is the boundary."""
