"""What the service does, a module per noun. Knows ports and values; no gRPC, no SDK, no SQL."""
