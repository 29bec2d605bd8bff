from benchmarks.figures import latencies_ms, median_by
from benchmarks.page import PAGE, page


def test_latencies_are_the_smallest_value_that_the_share_does_not_exceed():
    hundred = [number / 1000 for number in range(100, 0, -1)]
    assert latencies_ms(hundred) == {"p50_ms": 50, "p95_ms": 95, "p99_ms": 99, "max_ms": 100}


def test_one_latency_is_every_share():
    assert set(latencies_ms([0.002]).values()) == {2.0}


def test_no_latency_has_no_shares():
    assert latencies_ms([]) == {}


def test_the_median_is_a_whole_round():
    rounds = [{"rate": 30, "p50_ms": 1}, {"rate": 10, "p50_ms": 2}, {"rate": 20, "p50_ms": 3}]
    assert median_by("rate", rounds) == {"rate": 20, "p50_ms": 3}


def test_the_page_says_what_the_results_say():
    assert PAGE.read_text() == page(), "run `python -m benchmarks.page`"
