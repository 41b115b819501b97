"""Hostile model files, made when they are needed and never stored; each would create an empty file, the canary."""
