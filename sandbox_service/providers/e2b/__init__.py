"""The E2B provider: the only importer of the SDK. Cloud, compatible or embedded, one code path."""
