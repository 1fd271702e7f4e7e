"""Faults made on purpose, and what tells of each: a real Prometheus with the rules that are shipped. By hand."""
