"""A model and clips -> predictions, and what is written of them."""
