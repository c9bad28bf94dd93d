"""A backbone -> a fast function from pictures to embeddings, with a fixed batch size."""
