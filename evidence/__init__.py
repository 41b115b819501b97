"""The plain data types that every room shares; this room imports nothing of ours and no torch at run time."""
