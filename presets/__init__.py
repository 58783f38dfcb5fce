"""Package data: the catalogue of known models and the presets, as YAML."""
