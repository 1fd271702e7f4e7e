"""Validation of what callers send: the rules of `omni.json`, and the few that no schema expresses."""
