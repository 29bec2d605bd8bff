"""Live editing, beside Hocuspocus with its Redis extension and python-socketio with its Redis manager.

Two instances each, rooms of ten whose peers are spread over both, updates of 130 bytes, one load generator for all:
a swarm of sockets (`swarm`), which speaks the wire of each contender (`dialects`). Ours authenticates, checks and
stores every edit before it is shown; the others do none of that.
"""
