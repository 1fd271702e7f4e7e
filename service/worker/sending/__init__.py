"""From a call to its outcome."""
