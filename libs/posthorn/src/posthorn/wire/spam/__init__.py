"""The built-in judge of messages: bounded facts, rules with points, and a Bayes filter."""
