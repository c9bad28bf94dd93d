"""One module per kind of label file."""
