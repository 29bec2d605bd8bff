"""How a run that goes on looks on a terminal."""

from melagent.cli.client import Event
from melagent.cli.follow import follow


class Api:
    """An API that tells what it is given."""

    def __init__(self, *events):
        self._events = events

    async def events(self, _run_id):
        for kind, data in self._events:
            yield Event(kind, data)


def piece(step_key, offset, text):
    return "token", {"step_key": step_key, "attempt": 1, "offset": offset, "text": text}


def line(message):
    return "log", {"step_key": "a", "level": "info", "message": message}


END = ("end", {"id": "1", "status": "completed"})


async def test_text_grows_on_a_line_of_its_own_until_another_cuts_in(capsys):
    text = [piece("a", 0, "Hel"), piece("a", 3, "lo"), line("half way"), piece("a", 5, " world"), piece("b", 0, "Hi")]
    await follow(Api(*text, piece("b", 0, "again"), line("done"), END), "1")
    assert capsys.readouterr().err.splitlines() == [
        "  a: Hello",
        "  a info: half way",
        "  a:  world",
        "  b: Hi",
        "  b: again",
        "  a info: done",
    ]
