"""A backbone -> a fast function from pictures to embeddings, of one batch size."""
