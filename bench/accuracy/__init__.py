"""How often the built-in scorer is wrong, on a public corpus (`make accuracy`)."""
