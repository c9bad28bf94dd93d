"""The user's target -> the list of clips, and which of their frames to take."""
