"""Mailboxes as IMAP sees and changes them: the ports Folders, MailboxView and Placing."""
