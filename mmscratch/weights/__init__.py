"""Checkpoints: safe loading, published names, release."""
