"""Data: read a file, recognise its columns, format it with a chat template, turn it into tokens."""
