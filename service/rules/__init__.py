"""Decisions, as pure functions between frozen values."""
