"""Traces, metrics and logs: their names and their set-up. Imports nothing of ours."""
