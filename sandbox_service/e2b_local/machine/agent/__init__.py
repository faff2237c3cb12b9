"""Pid 1 of a sandbox: starts programs, opens files, reaps orphans.

It runs inside the namespaces, where this package is all it can see of ours, with one end
of a SOCK_SEQPACKET pair. It serves one question per message until the other end is
closed, and the sandbox ends with it.

Whatever it starts inherits its namespaces, its seccomp filter and its limits, so there
is nothing to apply per program and nothing that could be forgotten.

Nothing here may import the rest of the product, or anything beyond what Python 3.8 has.
The imports are few and partly private on purpose: `json`, `socket`, `signal` and
`ctypes` would double the time a sandbox takes to boot. What only files and archives need is
imported when the server has been told that the sandbox is there.
"""
