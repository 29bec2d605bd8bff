"""Measures the product as shipped: `python -m benchmarks --help`.

The server runs as its users start it: embedded PostgreSQL with fsync and synchronous commits, info logs to a file,
metrics on. A load generator in a process of its own checks a field of every answer, and afterwards SQL proves that
runs = answers, steps = runs * n, and that nothing was left live. `floor.py` does the same HTTP and SQL without the
engine, measured in turns with the product on the same PostgreSQL, so that the engine's own cost is a ratio.
"""
