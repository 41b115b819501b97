"""A zoo of small text classifiers, clean and backdoored, in two halves that never meet."""
