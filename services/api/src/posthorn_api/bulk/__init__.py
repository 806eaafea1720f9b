"""Import of many accounts and aliases."""
