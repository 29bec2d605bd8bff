"""Live editing: rooms of peers, over any number of instances.

A **room** is all who edit one workflow. Each instance has its part of it: the draft as it is confirmed, and the
peers whose sockets are here. No room has an owner and no socket needs a particular instance.

**The way of an edit.** A peer's edit waits in its room. The **lane**, one for each instance, takes what has gathered
in all rooms, checks and applies it to the drafts in memory, and commits it in one statement, which takes effect for a
draft only if its `seq` is still the one that the edits were checked on. Only then they are shown: to the peers here,
and as letters to the other instances that have the room open. A draft that another instance was faster with is taken
back to where it was, catches up, and its edits are checked again on that. So no committed edit was ever checked against
anything but its predecessor, and nothing is shown that is not durable.

**Where several instances are busy in a room** they would mostly beat one another. Then one of them, its **committer**,
commits for all for some seconds: the others hand it their edits, and it commits them with its own. Who does is a hint;
what is committed is decided as ever.

**What can get lost.** PostgreSQL is the truth. A letter may be lost, doubled or late: a room applies the next number
and nothing else, reads gaps from the table, and compares its `seq` with the table every few seconds and after a gap of
the broker. When the answer to a commit is lost, its edits are neither acknowledged nor refused until the table has
told.

**Lock order.** The lane's statement locks rows of drafts in the order of their ids; nothing else here holds two locks.
While the lane has a draft's edits under way the draft in memory is ahead of what is confirmed (`Room.busy`): whatever
reads it or adds to it waits for the end of that, in `Room.when_settled`.

**Presence** is lossy: it goes from peers to peers, never to a table. The **seats**, who is in which room through which
instance, are in a store with expiry, so that the people of an instance that died are gone within seconds.
"""
