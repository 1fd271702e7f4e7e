"""Long runs, started by hand, with real processes that are killed."""
