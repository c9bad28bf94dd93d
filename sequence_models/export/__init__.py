"""A trained run as files for programs without Clipseq."""
