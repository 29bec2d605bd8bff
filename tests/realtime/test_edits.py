"""Edits over real sockets on two instances: all copies are equal to each other and to the database."""

from __future__ import annotations

import asyncio

from tests.realtime.conftest import put


async def test_an_edit_reaches_everybody_on_every_instance(one, two, make_workflow, connect, converged):
    workflow_id = await make_workflow(one)
    ada, ben, eva = [await connect(instance, workflow_id) for instance in (one, two, two)]
    edit_id = await ada.edit(put("Finished"))
    frame = await ada.answer(edit_id)
    assert (frame["type"], frame["seq"], frame["client"]) == ("edit", 2, ada.name)
    for client in (ben, eva):
        assert await client.frame("edit") == frame
    state = await converged(workflow_id, ada, ben, eva)
    assert state.nodes["done"]["name"] == "Finished"


async def test_edits_from_both_instances_at_once_are_ordered_the_same_for_all(
    one, two, make_workflow, connect, converged
):
    workflow_id = await make_workflow(one)
    clients = [await connect(instance, workflow_id) for instance in (one, two, one, two)]

    async def type_away(client, number):
        sent = [await client.edit(put(f"{number}.{n}", "done" if n % 2 else "start")) for n in range(25)]
        return [await client.answer(edit_id) for edit_id in sent]

    answers = await asyncio.gather(*(type_away(client, number) for number, client in enumerate(clients)))
    assert sorted(frame["seq"] for frames in answers for frame in frames) == list(range(2, 102))
    for frames in answers:
        assert [frame["seq"] for frame in frames] == sorted(frame["seq"] for frame in frames)
    await converged(workflow_id, *clients)
