from benchmarks.figures import latencies_ms, median_by
from benchmarks.memory import memory_goals
from benchmarks.page import PAGE, in_the_way, page


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


def test_the_page_gives_the_reason_with_the_longest_beginning_for_each_goal_that_is_missed():
    reasons = {"soak": "The disk\nis slow.", "soak: rate": "The machine."}
    text = in_the_way(["soak: rate of the last minute", "soak: memory", "soak: size", "claim: p50"], reasons)
    assert "- **soak: rate of the last minute**: The machine." in text
    assert "- **soak: memory**, **soak: size**: The disk is slow." in text
    assert "- **claim: p50**: not profiled yet." in text
    assert "all goals are met" in in_the_way([], reasons)


def watched(last_mb, runs=100_000):
    """Memory that was the same over all tenths but the last."""
    figures = [last_mb if tenth == 10 else 70.0 for tenth in range(1, 11)]
    samples = [{"runs": runs * n // 10, "api": 100.0, "workers": [mb, 70.0]} for n, mb in enumerate(figures, start=1)]
    return {"runs_of_each_worker": runs, "samples": samples}


def missed(goals):
    return [goal.name for goal in goals if not goal.met]


def test_memory_that_grows_misses_its_goal_and_so_do_too_few_runs():
    assert missed(memory_goals(watched(70.0), 100_000)) == []
    assert missed(memory_goals(watched(95.0), 100_000)) == [
        "remote: memory of worker 1, MB",
        "remote: memory of worker 1, last / second tenth",
    ]
    assert missed(memory_goals(watched(70.0, runs=40_000), 100_000)) == [
        "remote: runs of each worker while memory was watched"
    ]
