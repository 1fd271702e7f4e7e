"""Validation of OMNI requests."""
