"""The running worker process."""
