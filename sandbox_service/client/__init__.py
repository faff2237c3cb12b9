"""The Python client: what the command line and tests call the service with. Generated code only."""
