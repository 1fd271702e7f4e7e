"""Injected faults and the alerts of a real Prometheus with the shipped rules. Started by hand."""
