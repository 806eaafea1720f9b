"""DNS records to publish, their check, and the public MTA-STS and autoconfig pages."""
