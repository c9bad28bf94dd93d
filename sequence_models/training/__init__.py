"""A model and clips -> a trained model."""
