"""Against the plain search of the graph itself, over random graphs with cycles."""

from hypothesis import given
from hypothesis import strategies as st

from melagent.domain.definition import Definition
from melagent.domain.graph import Graph
from melagent.services.reach import groups, upstream

IDS = [f"n{number}" for number in range(8)]
GRAPHS = st.lists(st.tuples(st.sampled_from(IDS), st.sampled_from(IDS)), max_size=16)


def graph_of(edges):
    nodes = [{"id": node_id, "type": "noop"} for node_id in IDS]
    return Graph.of(Definition(nodes=nodes, edges=[{"source": source, "target": target} for source, target in edges]))


@given(GRAPHS)
def test_upstream_are_those_from_which_a_path_leads(edges):
    graph = graph_of(edges)
    above = upstream(graph, list(groups(graph)))
    for position, node_id in enumerate(IDS):
        found = {other for other in IDS if above[position] >> graph.index[other] & 1}
        assert found == graph.ancestors(node_id)


@given(GRAPHS)
def test_a_group_is_all_who_lead_into_one_another_and_comes_after_what_leads_to_it(edges):
    graph = graph_of(edges)
    ordered = list(groups(graph))
    assert sorted(node for group in ordered for node in group) == list(range(len(IDS)))
    place = {IDS[node]: place for place, group in enumerate(ordered) for node in group}
    for one in IDS:
        for other in graph.ancestors(one):
            together = one == other or one in graph.ancestors(other)
            assert place[other] == place[one] if together else place[other] < place[one]
