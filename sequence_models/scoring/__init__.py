"""Truth and predictions -> scores with their intervals; knows no model."""
