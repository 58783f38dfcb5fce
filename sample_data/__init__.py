"""Package data: the built-in data sets, as JSON Lines."""
