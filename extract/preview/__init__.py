"""A look at videos before anything is stored: the scan and the contact sheet."""
