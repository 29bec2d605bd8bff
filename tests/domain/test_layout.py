"""Any draft can be laid out: with cycles, with edges that lead nowhere, with an id that is there twice."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from melagent.domain.definition import Definition, Position
from melagent.domain.layout import COLUMN, ROW, layout

IDS = [f"n{number}" for number in range(9)]
NODES = st.lists(st.sampled_from(IDS[:8]), max_size=10)
EDGES = st.lists(st.tuples(st.sampled_from(IDS), st.sampled_from(IDS)), max_size=20)


def definition(nodes, edges):
    return Definition(
        nodes=[{"id": node_id, "type": "noop"} for node_id in nodes],
        edges=[{"source": source, "target": target} for source, target in edges],
    )


@given(NODES, EDGES)
def test_every_node_gets_a_place_of_its_own_and_always_the_same(nodes, edges):
    places = layout(definition(nodes, edges))
    assert places.keys() == set(nodes)
    assert len({(place.x, place.y) for place in places.values()}) == len(places)
    assert layout(definition(nodes, edges)) == places


@given(st.lists(st.tuples(st.sampled_from(range(9)), st.sampled_from(range(9))), max_size=20))
def test_without_cycles_every_edge_leads_to_the_right(pairs):
    edges = [(IDS[min(pair)], IDS[max(pair)]) for pair in pairs if pair[0] != pair[1]]
    places = layout(definition(IDS, edges))
    assert all(places[source].x < places[target].x for source, target in edges)


def test_a_diamond_is_symmetric_and_its_branches_do_not_cross():
    edges = [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d"), ("c", "e"), ("b", "f")]
    places = layout(definition("acbdef", edges))
    assert places["a"] == Position(x=0, y=ROW)
    assert (places["c"], places["b"]) == (Position(x=COLUMN, y=ROW / 2), Position(x=COLUMN, y=ROW * 1.5))
    assert [places[node_id].y for node_id in "edf"] == [0, ROW, 2 * ROW]


def test_a_long_chain_takes_no_recursion():
    ids = [f"n{number}" for number in range(5000)]
    places = layout(definition(ids, itertools.pairwise(ids)))
    assert places["n4999"] == Position(x=4999 * COLUMN, y=0)
