"""Reports on Postgres: noted by delivery and the relay, read and sent by the API's leader."""
