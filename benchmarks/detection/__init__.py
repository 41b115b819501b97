"""Detection and error rates on the zoo's reporting half, beside the baselines: one command, one table."""
