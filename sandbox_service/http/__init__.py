"""HTTP in: metrics and health; later the gateway for callers that cannot speak gRPC."""
