"""csv: both directions, ragged rows, quoting, and texts that would grow beyond measure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from melagent.nodes import csv
from melagent.sdk import NodeError

CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=5)


@pytest.mark.parametrize(
    ("config", "text", "rows"),
    [
        ({}, "a,b\r\n1,x\r\n2,\r\n", [{"a": "1", "b": "x"}, {"a": "2", "b": ""}]),
        ({}, "\ufeffa,b\n1,2", [{"a": "1", "b": "2"}]),
        ({}, 'a,b\n"x, ""y""\nz",\n', [{"a": 'x, "y"\nz', "b": ""}]),
        ({}, "a\n\n1\n\n", [{"a": "1"}]),
        ({}, "a,b\n", []),
        ({}, "", []),
        ({"header": False}, "1,2\n3,4", [["1", "2"], ["3", "4"]]),
        ({"delimiter": "\t", "quote": "'"}, "a\tb\n'1\t2'\t\"", [{"a": "1\t2", "b": '"'}]),
        (
            {"ragged": "fill"},
            "a,b\n1\n1,2,3\n",
            [{"a": "1", "b": "", "column 3": ""}, {"a": "1", "b": "2", "column 3": "3"}],
        ),
        ({"ragged": "fill", "header": False}, "1\n2,3", [["1", ""], ["2", "3"]]),
    ],
)
async def test_rows_are_made_of_a_text(run_node, config, text, rows):
    assert await run_node("csv", config, input=text) == rows


@pytest.mark.parametrize(
    ("config", "text", "problem"),
    [
        ({}, "a,b\n1,2\n3\n", "Line 3 has 1 cells, the first row has 2"),
        ({}, "a,b\n1,2,3\n", "Line 2 has 3 cells"),
        ({}, "a,a\n1,2\n", "Two columns have the name 'a'"),
        ({"ragged": "fill"}, "a,column 3\n1,2,3\n", "Two columns have the name 'column 3'"),
        ({}, 'a\n"1\n2', "Line 3 is not valid CSV: unexpected end of data"),
        ({}, 'a\n"1"2', "Line 2 is not valid CSV"),
        ({}, "a\n" + "x" * 131_073, "larger than field limit"),
        ({}, 7, "not text"),
    ],
)
async def test_what_is_no_table_is_refused_with_its_line(run_node, config, text, problem):
    with pytest.raises(NodeError, match=problem) as caught:
        await run_node("csv", config, input=text)
    assert (caught.value.code, caught.value.retryable) == ("wrong_input", False)


@pytest.mark.parametrize(
    ("config", "rows", "text"),
    [
        ({}, [{"a": 1, "b": None}, {"b": True, "c": [1, {"d": "é"}]}], 'a,b,c\r\n1,,\r\n,true,"[1,{""d"":""é""}]"\r\n'),
        ({"columns": ["b", "z"]}, [{"a": 1, "b": "x"}], "b,z\r\nx,\r\n"),
        ({"columns": ["b"]}, [], "b\r\n"),
        ({"header": False}, [{"a": 1.5}, {"a": 'x"y'}], '1.5\r\n"x""y"\r\n'),
        ({}, [[1, 2], [3]], "1,2\r\n3\r\n"),
        ({"quoting": "all", "delimiter": ";"}, [["a", 1]], '"a";"1"\r\n'),
        ({"quote": "'"}, [["it's", "a,b"]], "'it''s','a,b'\r\n"),
        ({}, [], ""),
    ],
)
async def test_a_text_is_made_of_rows(run_node, config, rows, text):
    assert await run_node("csv", {"operation": "format"} | config, input=rows) == text


@pytest.mark.parametrize(
    ("config", "rows", "problem"),
    [
        ({}, {"a": 1}, "not a list of rows"),
        ({}, [{"a": 1}, [1]], "Row 1 is not an object"),
        ({}, [1], "Row 0 is not a list or an object"),
        ({"columns": ["a"]}, [["a"]], "Row 0 is not an object"),
    ],
)
async def test_what_are_no_rows_is_refused(run_node, config, rows, problem):
    with pytest.raises(NodeError, match=problem) as caught:
        await run_node("csv", {"operation": "format"} | config, input=rows)
    assert not caught.value.retryable


@given(rows=st.lists(st.lists(CELLS, min_size=2, max_size=2), max_size=5), delimiter=st.sampled_from(",;\t|"))
def test_what_was_written_is_read_again(rows, delimiter):
    params = csv.CsvParams(header=False, delimiter=delimiter)
    assert csv._parsed(csv._formatted(rows, params), params) == rows


@pytest.mark.parametrize(
    ("config", "given"),
    [
        ({}, "x" * 100_000 + "\n" + "a\n" * 1000),  # a long name in every row
        ({"ragged": "fill", "header": False}, "," * 10_000 + "\n" + "a\n" * 1000),  # a wide row widens all
        ({"operation": "format"}, [{f"a{number}": 1} for number in range(5000)]),  # each row with a field of its own
    ],
)
async def test_a_text_that_would_grow_to_gigabytes_is_refused(run_node, config, given):
    with pytest.raises(NodeError, match="16,777,216 characters") as caught:
        await run_node("csv", config, input=given)
    assert (caught.value.code, caught.value.retryable) == ("too_large", False)


@pytest.mark.parametrize(
    "config",
    [
        {"delimiter": ""},
        {"delimiter": ",,"},
        {"delimiter": "\n"},
        {"delimiter": '"'},
        {"quote": " "},
        {"operation": "format", "columns": ["a", "b", "a"]},
    ],
)
async def test_characters_that_cannot_separate_and_columns_named_twice_are_refused(run_node, config):
    with pytest.raises(ValidationError):
        await run_node("csv", config, input="")
