"""What the service is about: frozen values, errors, limits and ports. No I/O, no libraries."""
