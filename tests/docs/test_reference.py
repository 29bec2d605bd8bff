"""The reference is what the code says now, and says something about everything."""

import typer.main

from docs import generate
from melagent import settings
from melagent.cli.program import app
from melagent.registry import Registry
from melagent.setting_kinds import Flag
from tests.cli.test_json import walk

COMMANDS = dict(walk(typer.main.get_command(app)))


def test_the_pages_are_those_that_make_docs_writes():
    stale = [
        name
        for name, text in generate.pages().items()
        if not (generate.REFERENCE / name).exists() or (generate.REFERENCE / name).read_text() != text
    ]
    assert stale == [], "run `make docs` and commit what it writes"
    assert {path.name for path in generate.REFERENCE.iterdir()} == generate.pages().keys()


def test_every_command_and_option_is_on_the_page():
    page = generate.pages()["cli.md"]
    for name, command in COMMANDS.items():
        _, found, section = page.partition(f"\n## server {name}\n")
        assert found, name
        section = section.partition("\n## ")[0]
        assert command.help.splitlines()[0] in section
        options = [option for param in command.params for option in param.opts if option.startswith("-")]
        missing = [option for option in options if option not in section]
        assert missing == [], name


def test_every_argument_and_option_says_what_it_means():
    silent = [
        f"{name} {param.name}" for name, command in COMMANDS.items() for param in command.params if not param.help
    ]
    assert silent == []


def test_every_setting_says_what_it_means():
    assert [name for name, field in settings.fields() if not field.description] == []


def test_the_option_of_a_setting_is_one_of_a_command():
    options = {option for command in COMMANDS.values() for param in command.params for option in param.opts}
    flags = {flag for _, field in settings.fields() for mark in settings.marks(field) if isinstance(mark, Flag)
             for flag in mark.names}  # fmt: skip  # one set
    assert flags - options == set()
    assert "--database-url" in flags


def test_every_parameter_of_a_node_type_says_what_it_means_and_is_on_the_page():
    page = generate.pages()["nodes.md"]
    for node_type in Registry.builtin().all():
        _, found, section = page.partition(f"\n## {node_type.id}\n")
        assert found, node_type.id
        section = section.partition("\n## ")[0]
        for name, found in node_type.schema.get("properties", {}).items():
            assert found.get("description"), f"{node_type.id}.{name} has no description"
            assert f"| `{name}` |" in section
        assert all(f"`{handle}`" in section for handle in (*node_type.inputs, *node_type.outputs))
