"""From bytes to a request."""
