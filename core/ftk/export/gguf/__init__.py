"""GGUF: the file that llama.cpp, Ollama and LM Studio read; written, and read back before anybody else sees it."""
