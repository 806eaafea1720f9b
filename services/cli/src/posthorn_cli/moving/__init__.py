"""Moving in from another server over IMAP. The source is only read: EXAMINE and BODY.PEEK."""
