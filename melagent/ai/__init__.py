"""Models and what nodes do with them.

A node asks a `ChatModel` (`chat`), which `providers.chat_model` makes for a connection. Behind it are the official
SDKs, imported when the first node asks, because that takes a second of processor time. An SDK gets neither the key nor
a network of its own: every request goes through `transport`, which is the guarded client of the node's context, puts
the secret on it if it goes where the secret may go, and keeps to limits. The SDK does not try again: what it raises
becomes a NodeError (`failures`), and the workflow's retry policy decides.
"""
