"""Label files -> what is known about each clip and each timestep."""
