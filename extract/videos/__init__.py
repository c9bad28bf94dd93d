"""What the user pointed at -> the list of clips, and which of their frames are wanted."""
