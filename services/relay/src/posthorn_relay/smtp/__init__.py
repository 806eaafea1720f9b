"""The SMTP client: connections to remote hosts and the mail transactions they carry."""
