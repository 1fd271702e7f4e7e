"""The process that receives OMNI's reports."""
