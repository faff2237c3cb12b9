"""The store's schema, version by version. `storage.migrate` runs them."""
