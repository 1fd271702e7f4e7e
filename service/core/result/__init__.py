"""From an outcome to what is published."""
