"""File formats: each reader yields the rows of one file with their numbers, and faults where a row cannot be read."""
