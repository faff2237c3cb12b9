"""gRPC in: servicers that parse, run one operation and convert, and the wrapper around each."""
