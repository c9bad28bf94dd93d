"""The batch job: decides what to do with each clip, and does it."""
