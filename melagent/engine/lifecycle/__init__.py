"""The only writer of run and step state; one module for each group of transitions.

`start`   nothing -> pending, or leased at once (eager start)
`claim`   pending -> leased
`record`  leased -> leased (steps recorded), parked, released, or a final state
`hold`    leased -> leased for longer
`cancel`  any live state -> cancelled
`rescue`  leased and expired -> pending, or failed after five expiries; deadline passed -> failed
`unpark`  parked and due -> pending
`purge`   a final state -> nothing
"""
