"""One file a remover: each turns a classifier into a repaired one, on a copy."""
