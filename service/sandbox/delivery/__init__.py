"""Simulated delivery and its reports."""
