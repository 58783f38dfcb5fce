"""Export: what a run trained as an adapter, a merged model, GGUF, for Ollama, on the Hub, or behind a server."""
