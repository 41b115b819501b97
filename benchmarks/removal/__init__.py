"""Removal measured: every remover on every backdoored model, beside each other."""
