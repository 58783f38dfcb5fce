"""Metrics: what an answer, a loss or a whole set of them is worth, each with how far chance alone may have moved it."""
