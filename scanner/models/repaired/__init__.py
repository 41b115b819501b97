"""Repaired models written in the format of the file that they came from."""
