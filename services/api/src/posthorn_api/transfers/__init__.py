"""Import and export of mail."""
