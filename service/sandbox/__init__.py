"""A simulator of the OMNI HTTP API, for development and tests."""
