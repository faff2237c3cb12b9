"""Isolated sandboxes for code that language models write, behind one gRPC contract."""

__version__ = "0.1.0.dev0"
