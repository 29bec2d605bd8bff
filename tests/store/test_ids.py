import time
from datetime import UTC, datetime, timedelta

from melagent.domain.ids import time_of
from melagent.store.ids import first_id_at, new_id


def test_an_id_is_a_uuid_of_version_7_that_holds_the_time_of_its_making():
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    made = new_id()
    assert made.version == 7
    assert before <= time_of(made) <= datetime.now(UTC)


def test_ids_sort_by_the_time_of_their_making():
    ids = []
    for _ in range(5):
        ids.append(new_id())
        start = time.time_ns() // 1_000_000
        while time.time_ns() // 1_000_000 == start:
            pass
    assert ids == sorted(ids)


def test_the_first_id_of_a_moment_divides_the_ids_before_from_those_after():
    made = new_id()
    moment = time_of(made)
    assert first_id_at(moment) <= made < first_id_at(moment + timedelta(milliseconds=1))


def test_a_moment_before_1970_has_the_smallest_id():
    assert first_id_at(datetime(1, 1, 1, tzinfo=UTC)).int == 0
