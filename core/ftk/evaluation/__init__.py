"""Evaluation: generate answers, compare two models, measure loss, perplexity and speed."""
