"""What rpc and http share: messages to values and back, errors to statuses."""
