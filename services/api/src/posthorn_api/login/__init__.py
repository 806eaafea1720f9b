"""Sign-in of browsers, and who the caller is."""
