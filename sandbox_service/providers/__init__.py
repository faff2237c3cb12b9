"""Sandboxes out: implementations of `domain.ports.SandboxProvider` and its decorators."""
