"""An OpenAI-compatible server for what a run trained."""
