"""A delivery's way through the relay."""
