"""Where mail for a destination goes: MX lookup, address policy, DANE and MTA-STS."""
