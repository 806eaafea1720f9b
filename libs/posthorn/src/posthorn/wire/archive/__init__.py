"""Archives of mail: mbox, Maildir, tar and their compression."""
