"""Pairs in, datasets and trained adapters out."""
