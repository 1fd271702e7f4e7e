"""From a request to the outcome of its calls."""
