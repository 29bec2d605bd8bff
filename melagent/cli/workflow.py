"""`server workflow`: from a file to a deployed workflow and to a run of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from melagent.cli.options import ApiKey, AsJson, Limit, ServerUrl, json_argument
from melagent.cli.remote import call
from melagent.cli.show import show_fields, show_json, show_progress, show_table

if TYPE_CHECKING:
    from melagent.cli.client import Api
    from melagent.errors import Problem

app = typer.Typer(
    help="Workflows: list, show, import, export, validate, deploy, run.", no_args_is_help=True, rich_markup_mode=None
)

COLUMNS = ("id", "name", "current_version", "has_changes", "updated_at")
FIELDS = ("id", "name", "description", "current_version", "has_changes", "created_at", "updated_at")

NameOrId = Annotated[str, typer.Argument(metavar="NAME_OR_ID", help="Name or id of the workflow")]
FileOrId = Annotated[str, typer.Argument(metavar="FILE_OR_ID", help="A workflow file, or a workflow's name or id")]


@app.command("list")
def list_workflows(
    *, limit: Limit = 20, as_json: AsJson = False, server: ServerUrl = None, api_key: ApiKey = None
) -> None:
    """List workflows, newest first."""
    workflows = call(server, api_key, lambda api: api.page("/api/workflows", "workflows", limit))
    show_json(workflows) if as_json else show_table(COLUMNS, workflows)


@app.command()
def show(workflow: NameOrId, *, as_json: AsJson = False, server: ServerUrl = None, api_key: ApiKey = None) -> None:
    """Show a workflow and the nodes of its draft."""

    async def work(api: Api) -> dict[str, Any]:
        found: dict[str, Any] = await api.get(f"/api/workflows/{await api.workflow_id(workflow)}")
        return found

    found = call(server, api_key, work)
    if as_json:
        show_json(found)
        return
    show_fields(found, FIELDS)
    typer.echo()
    show_table(("id", "type", "name"), found["definition"]["nodes"])


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="A workflow file, YAML or JSON")],
    *,
    name: Annotated[str | None, typer.Option("--name", help="Name to give it, in place of the file's own")] = None,
    as_json: AsJson = False,
    server: ServerUrl = None,
    api_key: ApiKey = None,
) -> None:
    """Make a workflow from a file; deploy it afterwards."""
    from melagent.cli import workflow_file

    read = workflow_file.read(file)
    body = {"name": name or read.name, "description": read.description, "definition": read.definition}
    made = call(server, api_key, lambda api: api.post("/api/workflows", body))
    show_json(made) if as_json else typer.echo(f"{made['id']} {made['name']}")


@app.command()
def export(
    workflow: NameOrId,
    *,
    version: Annotated[str, typer.Option("--version", help="A number, current, or draft")] = "draft",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write; JSON when its name ends with .json")
    ] = None,
    as_json: AsJson = False,
    server: ServerUrl = None,
    api_key: ApiKey = None,
) -> None:
    """Write a workflow as a file that imports again to the same definition."""
    from melagent.cli import workflow_file

    if version not in ("current", "draft") and not (version.isascii() and version.isdigit()):
        raise typer.BadParameter("expected a number, current, or draft", param_hint="--version")

    async def work(api: Api) -> dict[str, Any]:
        id = await api.workflow_id(workflow)
        found: dict[str, Any] = await api.get(f"/api/workflows/{id}")
        if version != "draft":
            found["definition"] = (await api.get(f"/api/workflows/{id}/versions/{version}"))["definition"]
        return found

    found = call(server, api_key, work)
    file = workflow_file.WorkflowFile(found["name"], found["description"], found["definition"])
    as_json = as_json or (output is not None and output.suffix == ".json")
    if output is None:
        typer.echo(file.text(as_json=as_json), nl=False)
    else:
        file.write(output, as_json=as_json)
        show_progress(f"wrote {output}")


@app.command()
def validate(workflow: FileOrId, *, as_json: AsJson = False, server: ServerUrl = None, api_key: ApiKey = None) -> None:
    """Check a file, without a server, or the draft of a workflow; every problem is named."""
    from melagent.cli import workflow_file
    from melagent.errors import Problem, Unprocessable

    if workflow_file.looks_like_file(workflow):
        problems = _problems_of_file(Path(workflow))
    else:

        async def work(api: Api) -> list[Problem]:
            draft = await api.get(f"/api/workflows/{await api.workflow_id(workflow)}/draft")
            return [Problem(found["field"], found["problem"]) for found in draft["problems"]]

        problems = call(server, api_key, work)
    if problems:
        raise Unprocessable(f"{workflow} has {len(problems)} problem{'s' if len(problems) > 1 else ''}.", problems)
    show_json({"problems": []}) if as_json else typer.echo(f"{workflow} is valid")


@app.command()
def deploy(
    workflow: NameOrId,
    *,
    version: Annotated[int | None, typer.Option("--version", help="Deploy this version, not the draft")] = None,
    as_json: AsJson = False,
    server: ServerUrl = None,
    api_key: ApiKey = None,
) -> None:
    """Make a version of the draft and deploy it, or deploy an older version, which is the rollback."""

    async def work(api: Api) -> dict[str, Any]:
        id = await api.workflow_id(workflow)
        number = version
        if number is None:
            made = await api.post(f"/api/workflows/{id}/versions", {"name": "deployed from the command line"})
            number = made["version_number"]
        deployed: dict[str, Any] = await api.post(f"/api/workflows/{id}/versions/{number}/deploy")
        return deployed

    deployed = call(server, api_key, work)
    if as_json:
        show_json(deployed)
    else:
        typer.echo(f"deployed version {deployed['version_number']} of {workflow}")
        for new in deployed["new_webhooks"]:
            typer.echo(f"{new['node_id']}: {new['webhook_url']}")


@app.command()
def run(
    workflow: FileOrId,
    *,
    input: Annotated[str, typer.Option("--input", metavar="JSON|@FILE", help="Input of the run")] = "null",
    entry: Annotated[str | None, typer.Option("--entry", help="Trigger node to start at")] = None,
    version: Annotated[str, typer.Option("--version", help="A number, current, or draft")] = "current",
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run and print its output")] = False,
    local: Annotated[bool, typer.Option("--local", help="Run a file here, without a server, and wait")] = False,
    as_json: AsJson = False,
    server: ServerUrl = None,
    api_key: ApiKey = None,
) -> None:
    """Run a file, which saves no workflow and arms no trigger, or a workflow."""
    from melagent.cli import workflow_file

    start: dict[str, Any] = {"input": json_argument(input, "--input"), "entry": entry}
    if workflow_file.looks_like_file(workflow):
        read = workflow_file.read(Path(workflow))
        start |= {"name": read.name, "definition": read.definition}
    elif local:
        raise typer.BadParameter("--local runs a file", param_hint="FILE_OR_ID")
    else:
        start |= {"version": int(version) if version.isdigit() else version}

    async def work(api: Api) -> dict[str, Any]:
        path = "/api/workflow-runs"
        if "definition" not in start:
            path = f"/api/workflows/{await api.workflow_id(workflow)}/execute"
        return await _run(api, path, start, wait=wait or local)

    if local:
        from melagent.cli.serve import with_local_server

        ran = with_local_server(work)
    else:
        ran = call(server, api_key, work)
    if as_json:
        show_json(ran)
    elif wait or local:
        show_json(ran["output"])
    else:
        typer.echo(f"{ran['id']} {ran['status']}")


async def _run(api: Api, path: str, start: dict[str, Any], *, wait: bool) -> dict[str, Any]:
    from melagent.cli.follow import follow

    started: dict[str, Any] = await api.post(path, start)
    if not wait:
        return started
    show_progress(f"run {started['id']}")
    return await follow(api, started["id"])


def _problems_of_file(path: Path) -> list[Problem]:
    from pydantic import ValidationError

    from melagent.cli import workflow_file
    from melagent.domain.definition import Definition
    from melagent.errors import Problem
    from melagent.registry import Registry
    from melagent.services.problems import problems

    read = workflow_file.read(path)
    try:
        return problems(Definition.model_validate(read.definition), Registry.installed())
    except ValidationError as error:
        return [Problem(".".join(map(str, fault["loc"])), fault["msg"]) for fault in error.errors(include_url=False)]
