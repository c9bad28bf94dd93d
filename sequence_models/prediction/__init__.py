"""A model and clips -> predictions, and the files made from them."""
