"""The worker protocol: its messages, and how domain values become messages and back. Used by `api` and `worker`."""
