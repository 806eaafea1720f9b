"""Who asks: OIDC tokens and logins of accounts."""
