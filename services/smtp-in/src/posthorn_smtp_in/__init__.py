"""The inbound SMTP service: takes mail for the domains served here and puts it on the ingest
stream."""
