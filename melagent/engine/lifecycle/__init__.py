"""The only writer of run and step state; one module for each group of transitions.

`start`   nothing -> pending, or leased at once (eager start)
`copy`    nothing -> pending, with recorded steps of another run
`claim`   pending -> leased, with what a worker needs to go on
`record`  leased -> leased (steps recorded), parked, released, or a final state
`hold`    leased -> leased for longer
`cancel`  any live state -> cancelled
`rescue`  leased and expired -> pending, or failed after five expiries; deadline passed -> failed
`wake`    parked -> pending: its time has come, a message it waits for is there, or a place falls free
`signal`  a message to a live run, which may wake it
`pause`   any live state -> paused, and back
`failures` a failed run has been seen to by the workflow that its own names for that
`purge`   a final state -> nothing
"""
