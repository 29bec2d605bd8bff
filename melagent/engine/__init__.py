"""How a run survives whatever dies.

The unit of work is a **run**. A worker leases a whole run, executes its ready nodes, and records what became of them in
the run's journal. Whoever takes the run over, after a crash, a drain or a sleep, reads the journal, folds it into a
plan (`planner`) and goes on from there: all of these are the same thing.

**Where a run is.** A run that has not ended has exactly one row in one of two small tables::

                    start                      claim, eager start
      (nothing) ---------------> free ---------------------------------> leased
                                  ^ ^                                    | | |
       its time, its message or   | |   released (drain), lease expired  | | |  completed, failed, cancelled
       its place has come         | +------------------------------------+ | +----------------------------> (ended)
                                  |   sleeps 5 s or more, waits, pauses    |                                   ^
                                parked <-----------------------------------+                                   |
                                  |                        cancelled                                           |
                                  +----------------------------------------------------------------------------+

`work_items` holds free and leased runs, `parked` those that sleep, wait for a signal or a child, are paused, or wait
for a place among the runs of a limited workflow; so looking for work never walks over them. All moves are in
`lifecycle`, and nothing else writes the state of runs and steps.

**What reaches a waiting run.** Signals and the ends of children are rows of its inbox. Writing one takes no lock on the
run, so no run ever waits for the write of another. Whoever has written a message, or has parked a run, looks once more
after the commit and wakes the run (`lifecycle.wake`): whichever of the two is later sees the other, and a pass a second
stands behind both. A message leaves the inbox in the very entry that records what it led to.

**Who may write.** A lease is a random token with an expiry by the database's clock. Every write names its token,
locks the work item, and is dropped as a whole when the token is no longer there: a worker that was thought dead and
comes back changes nothing. Leases are extended every five seconds; those that expire are taken back by the rescuer,
which every instance runs. Five expiries without a recorded step in between end the run as `worker_lost`.

**What is durable when.** The outcome of a node with effects is written at once; outcomes of pure nodes ride along
with the next write, a second later at most. A node with effects starts only when all before it is durable, and so
does a long sleep, and no answer or event leaves before its step is durable (`executor`, `journal`). So a recorded
step never runs again; what was not recorded runs again, with the same idempotency key.

**Unknown commits.** An entry carries `(lease, seq)`, the last pair is kept on the work item and, after the end, on
the run: when a connection breaks, the same entry is sent again and is answered as the first time.

**Speed.** Writes of concurrent runs share statements (`batch`): while one is under way the next gathers. A process with
free places inserts a run already leased to itself (eager start), so a short run costs two commits: its start, and its
steps together with its end. Hints between processes (`broker`) go over a connection of their own, after the commit;
each hint has a poll behind it.

**Lock order.** `runs` by id, then `work_items` or `parked` by id. A statement that locks several rows first locks
them in that order in a step of its own, and a deadlock that happens all the same is tried again. Other transactions
carry time limits of five seconds, so that a stopped process cannot hold locks for ever.
"""
