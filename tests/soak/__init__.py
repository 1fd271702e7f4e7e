"""Long runs by hand, against real processes that are really killed."""
