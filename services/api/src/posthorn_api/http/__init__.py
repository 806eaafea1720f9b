"""What every resource shares: permissions, problems, pagination, large bodies, rate limits, the
OpenAPI document."""
