import io
import json
import logging

import pytest
import structlog

from melagent import log


@pytest.fixture
def logged():
    """Configures logging to a text stream."""

    def configure(level, format):
        stream = io.StringIO()
        log.configure(level, format, stream)
        return stream

    return configure


def test_event_is_one_line_of_json_with_the_bound_ids(logged):
    stream = logged("info", "json")
    with log.bound(run_id="r", step_key="s"):
        structlog.get_logger().info("two\nlines", count=2)
    line = json.loads(stream.getvalue())
    assert stream.getvalue().count("\n") == 1
    assert line.items() >= {"event": "two\nlines", "count": 2, "run_id": "r", "step_key": "s", "level": "info"}.items()


def test_text_is_one_line_even_with_an_exception(logged):
    stream = logged("info", "text")
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        structlog.get_logger().exception("it\nfailed")
    assert stream.getvalue().count("\n") == 1
    assert "it\\nfailed" in stream.getvalue()
    assert "ValueError" in stream.getvalue()


def test_level_filters_our_loggers_and_those_of_libraries(logged):
    stream = logged("warning", "json")
    structlog.get_logger().info("quiet")
    logging.getLogger("aiohttp.server").info("quiet")
    assert stream.getvalue() == ""
    logging.getLogger("aiohttp.server").error("loud %s", "one")
    line = json.loads(stream.getvalue())
    assert (line["event"], line["logger"], line["level"]) == ("loud one", "aiohttp.server", "error")


@pytest.mark.parametrize("value", ["\ud800", 2**70, b"\xff", object()])
def test_value_that_json_cannot_hold_does_not_stop_the_caller(logged, value):
    stream = logged("info", "json")
    structlog.get_logger().info("strange", value=value)
    assert json.loads(stream.getvalue())["event"] == "strange"


def test_logger_made_before_the_configuration_follows_it(logged):
    logger = structlog.get_logger()
    logged("error", "json")
    stream = logged("info", "json")
    logger.info("heard")
    assert "heard" in stream.getvalue()


def test_stream_that_is_gone_does_not_stop_the_caller(logged):
    logged("info", "json").close()
    structlog.get_logger().info("into the void")
    logging.getLogger("aiohttp.server").error("into the void")


@pytest.mark.parametrize("method", ["info", "warning", "error", "critical", "exception"])
def test_every_level_is_written_under_its_name(logged, method):
    stream = logged("info", "json")
    getattr(structlog.get_logger(), method)("event")
    assert json.loads(stream.getvalue())["level"] == {"exception": "error"}.get(method, method)
