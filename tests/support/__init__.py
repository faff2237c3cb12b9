"""The tests' own tools: the service as a process, a client, a view of the processes."""
