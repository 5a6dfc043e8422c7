"""Order, retries, cache, provenance and the command line; no science."""
