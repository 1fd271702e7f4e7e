"""What a message says on each channel, as OMNI spells it."""
