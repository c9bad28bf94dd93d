"""The batch job: what to do with every clip, and doing it."""
