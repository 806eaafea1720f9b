"""The outbound queue, routes, suppressions, rate limits and MTA-STS policies in Postgres."""
