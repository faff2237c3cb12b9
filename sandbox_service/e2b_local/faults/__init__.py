"""Faults on purpose, for tests of what is built on sandboxes.

Off unless the backend is started with it. Rules say what goes wrong, for which
requests, and how often; they are given at the start by a file, and later by
`/local/faults`. `injector` and `rules` are imported only when it is on.
"""
