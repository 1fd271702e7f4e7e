"""OMNI's own vocabulary."""
