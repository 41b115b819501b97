"""Tables that measure the scanner; each module is one command: `python -m ebyd_scan.benchmarks.NAME`."""
