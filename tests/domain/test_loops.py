"""What belongs to the body of a loop, which edges cross its border, and the keys of steps within."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from melagent.domain.definition import Definition
from melagent.domain.loops import Regions, leaks, path_of, step_key

IDS = "abcdefgh"
MANY = 4_999


def definition(edges, loops="LMN", nodes=()):
    """A definition of edges like `a>b L.item>c`; a node is a loop when its id is among `loops`."""
    pairs = [edge.split(">") for edge in edges.split()]
    ids = dict.fromkeys([*nodes, *(end.partition(".")[0] for pair in pairs for end in pair)])
    return Definition(
        nodes=[{"id": node_id, "type": "for_each" if node_id in loops else "noop"} for node_id in ids],
        edges=[
            {"source": source.partition(".")[0], "source_handle": source.partition(".")[2] or "out", "target": target}
            for source, target in pairs
        ],
    )


def loop_of(edges, **more):
    return Regions.of(definition(edges, **more)).loop_of


def crossing(edges):
    """The edges that cross the border of a body, each with the loop."""
    return [(edges.split()[position], loop) for position, loop in leaks(Regions.of(definition(edges)))]


# What belongs where


def test_the_body_is_what_hangs_on_item():
    assert loop_of("s>L L.item>a a>b L.item>c L.done>d d>e") == {
        "s": None, "L": None, "a": "L", "b": "L", "c": "L", "d": None, "e": None,
    }  # fmt: skip


def test_branches_meet_again_within_the_body():
    assert loop_of("s>L L.item>a L.item>b a>c b>c")["c"] == "L"


def test_a_loop_within_a_body_belongs_to_it_and_what_follows_it_does_too():
    found = loop_of("s>L L.item>M M.item>a M.done>b L.done>c")
    assert found == {"s": None, "L": None, "M": "L", "a": "M", "b": "L", "c": None}


def test_loops_side_by_side_and_one_after_the_other_have_bodies_of_their_own():
    found = loop_of("s>L s>M L.item>a M.item>b L.done>N N.item>c")
    assert {node: found[node] for node in "abcN"} == {"a": "L", "b": "M", "c": "N", "N": None}


def test_what_fails_within_a_body_branches_within_it_and_a_loop_that_fails_branches_around_it():
    found = loop_of("s>L L.item>a a.error>b L.error>c")
    assert (found["b"], found["c"]) == ("L", None)


def test_only_a_loop_has_items():
    assert loop_of("s>a a.item>b") == {"s": None, "a": None, "b": None}


def test_what_can_be_reached_without_the_items_is_not_in_the_body():
    assert loop_of("s>L L.item>a s>a")["a"] is None
    assert loop_of("s>L L.item>a L.done>a")["a"] is None
    assert loop_of("s>L L.item>a t>a")["a"] is None
    assert loop_of("s>L L.item>M M.item>a L.item>a")["a"] == "L"


def test_loops_around_a_node_are_told_from_the_inside_out():
    regions = Regions.of(definition("s>L L.item>M M.item>N N.item>a M.done>b"))
    assert list(regions.loops_around("a")) == ["N", "M", "L"]
    assert list(regions.loops_around("s")) == []
    assert {node: regions.depth_of(node) for node in "sLMNab"} == {"s": 0, "L": 0, "M": 1, "N": 2, "a": 3, "b": 1}


# Graphs


def test_each_region_has_a_graph_and_that_of_a_body_begins_with_its_loop():
    regions = Regions.of(definition("s>L L.item>a a>M M.item>b M.done>c L.done>d"))
    shown = {
        region: (graph.node_ids, [f"{edge.source}>{edge.target}" for edge in graph.edges])
        for region, graph in regions.graphs.items()
    }
    assert shown == {
        None: (("s", "L", "d"), ["s>L", "L>d"]),
        "L": (("L", "a", "M", "c"), ["L>a", "a>M", "M>c"]),
        "M": (("M", "b"), ["M>b"]),
    }
    assert regions.graph_of("c") is regions.graphs["L"]
    assert regions.graph_of("L") is regions.graphs[None]


def test_a_loop_without_a_body_has_a_graph_of_itself():
    assert Regions.of(definition("s>L")).graphs["L"].node_ids == ("L",)


# Borders


@pytest.mark.parametrize(
    ("edges", "found"),
    [
        ("s>L L.item>a L.done>b", []),
        ("s>L L.item>a L.done>b a>b", [("a>b", "L")]),
        ("s>L L.item>a a.error>b L.done>b", [("a.error>b", "L")]),
        ("s>L L.item>a s>a", [("L.item>a", "L")]),
        ("s>L L.item>a t>a", [("L.item>a", "L")]),
        ("s>L L.item>a L.done>a", [("L.item>a", "L")]),
        ("s>L s>M L.item>a M.item>a", [("L.item>a", "L"), ("M.item>a", "M")]),
        ("s>L L.item>M M.item>a L.item>a", [("M.item>a", "M")]),
        ("s>L L.item>M M.item>a M.done>b a>b", [("a>b", "M")]),
        ("s>L L.item>M M.item>a L.done>b a>b", [("a>b", "M")]),
        ("s>a a.item>b s>b", []),
    ],
)
def test_an_edge_that_crosses_the_border_of_a_body_is_told_with_its_loop(edges, found):
    assert crossing(edges) == found


def test_an_edge_to_a_node_that_is_not_there_crosses_nothing():
    lost = definition("s>L L.item>a a>gone gone>a L.done>gone")
    lost = lost.model_copy(update={"nodes": tuple(node for node in lost.nodes if node.id != "gone")})
    regions = Regions.of(lost)
    assert list(leaks(regions)) == []
    assert regions.loop_of == {"s": None, "L": None, "a": "L"}
    assert len(regions.graphs["L"].edges) == 1


def test_a_cycle_keeps_nobody_busy():
    found = loop_of("s>L L.item>a a>b b>a b>c L.done>L")
    assert found.keys() == set("sLabc")


# Any definition without cycles, against what the words say


EDGE = st.tuples(st.sampled_from(IDS), st.sampled_from(["out", "item", "done"]), st.sampled_from(IDS))


@st.composite
def definitions(draw):
    loops = draw(st.sets(st.sampled_from(IDS), max_size=5))
    edges = [
        (source, handle, target) for source, handle, target in draw(st.lists(EDGE, max_size=16)) if source < target
    ]
    return definition(" ".join(f"{s}.{handle}>{t}" for s, handle, t in edges), loops=loops, nodes=IDS)


def reached(found, left_out=None):
    """The nodes to which a path leads that begins where nothing leads to, without the items of one loop."""
    targets = {edge.target for edge in found.edges}
    left, seen = [node.id for node in found.nodes if node.id not in targets], set()
    while left:
        node_id = left.pop()
        seen.add(node_id)
        left += [
            edge.target
            for edge in found.edges
            if edge.source == node_id and not (node_id == left_out and edge.source_handle == "item")
        ]
    return seen


@given(definitions())
def test_a_node_is_in_the_body_of_the_loops_without_whose_items_it_cannot_be_reached(found):
    regions = Regions.of(found)
    loops = [node.id for node in found.nodes if node.type == "for_each"]
    for node in found.nodes:
        around = {loop for loop in loops if node.id not in reached(found, left_out=loop)}
        assert {*regions.loops_around(node.id)} == around


@given(definitions())
def test_every_node_and_every_edge_that_crosses_nothing_is_in_one_graph(found):
    regions = Regions.of(found)
    nodes = [node_id for region, graph in regions.graphs.items() for node_id in graph.node_ids if node_id != region]
    assert sorted(nodes) == sorted(IDS)
    told = {position for position, _ in leaks(regions)}
    kept = [edge.id for position, edge in enumerate(found.edges) if position not in told]
    assert sorted(edge.id for graph in regions.graphs.values() for edge in graph.edges) == sorted(kept)


@given(definitions())
def test_an_edge_crosses_a_border_when_its_ends_are_in_different_bodies(found):
    regions = Regions.of(found)
    bodies = {
        loop: {node.id for node in found.nodes if loop in regions.loops_around(node.id)} for loop in regions.loops
    }
    crosses = {
        position
        for position, edge in enumerate(found.edges)
        for loop, body in bodies.items()
        if (edge.source in body or (edge.source == loop and edge.source_handle == "item")) != (edge.target in body)
    }
    assert {position for position, _ in leaks(regions)} == crosses


@pytest.mark.parametrize("handle", ["item", "done"])
def test_the_largest_definition_of_loops_takes_a_moment(handle):
    ids = [f"n{number}" for number in range(MANY)]
    steps = [{"source": a, "target": b, "source_handle": handle} for a, b in itertools.pairwise(ids)]
    into_last = [{"source": node_id, "target": "last", "source_handle": "done"} for node_id in ids]
    nodes = [*({"id": node_id, "type": "for_each"} for node_id in ids), {"id": "last", "type": "noop"}]
    found = Definition(nodes=nodes, edges=[*steps, *into_last])
    begun = time.process_time()
    regions = Regions.of(found)
    assert len(list(leaks(regions))) == (MANY - 1 if handle == "item" else 0)
    assert len(regions.graphs) == MANY + 1
    assert time.process_time() - begun < 5


# Keys


@given(st.from_regex(r"\A[A-Za-z0-9_][A-Za-z0-9_-]{0,20}\Z"), st.lists(st.integers(0, 100_000), max_size=4))
def test_a_key_tells_its_path(node_id, path):
    assert path_of(step_key(node_id, path), node_id) == tuple(path)


def test_keys_have_the_number_of_the_item_in_each_loop_the_outermost_first():
    assert step_key("a", ()) == "a"
    assert step_key("a", (2, 5)) == "a[2][5]"
    assert path_of("a[2][5]", "a") == (2, 5)
    assert path_of("a[2]/items", "a") == (2,)
    assert path_of("a/items", "a") == ()
