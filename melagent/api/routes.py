"""The whole URL table: method, path, handler, who may call, what goes in, what comes out."""

from __future__ import annotations

from melagent.api import (
    approvals,
    cluster,
    demo,
    edits,
    events,
    health,
    metrics,
    node_tests,
    node_types,
    openapi,
    pinned,
    previews,
    run_actions,
    runs,
    tokens,
    triggers,
    variables,
    versions,
    webhooks,
    workers,
    workflows,
)
from melagent.api.route import Route
from melagent.domain.definition import Edge
from melagent.protocol.messages import (
    Beat,
    BeatAnswer,
    ChildAnswer,
    ChildQuestion,
    Claim,
    CompleteCall,
    EventsCall,
    InboxAnswer,
    Item,
    JournalAnswer,
    JournalCall,
    JournalPage,
    Registered,
    Registration,
    VariablesAnswer,
)
from melagent.services.access import Role

OPEN, VIEWER, EDITOR, ADMIN, WORKER = Role.OPEN, Role.VIEWER, Role.EDITOR, Role.ADMIN, Role.WORKER

_WORKFLOW = "/api/workflows/{id}"
_DRAFT_NODE = f"{_WORKFLOW}/draft/nodes/{{node_id}}"
_RUN = "/api/workflow-runs/{id}"
_VARIABLE = "/api/variables/{scope}/{key}"
_WORKER = "/api/workers/{id}"

# fmt: off
ROUTES: tuple[Route, ...] = (
    Route("GET", "/health", health.health, OPEN, answer=health.HealthAnswer),
    Route("GET", "/api/health", health.health, OPEN, answer=health.HealthAnswer),
    Route("GET", "/ready", health.ready, OPEN, answer=health.ReadyAnswer, also=(503,)),
    Route("GET", "/metrics", metrics.scrape, OPEN, answer="text/plain"),
    Route("GET", "/api/openapi.json", openapi.openapi_json, OPEN, answer="application/json"),
    Route("GET", "/api/docs", openapi.docs_page, OPEN, answer="text/html"),
    Route("GET", "/api/node-types", node_types.list_node_types, OPEN, query=node_types.NodeTypesQuery,
          answer=[node_types.NodeTypeAnswer]),
    Route("GET", "/api/node-types/{id}", node_types.get_node_type, OPEN, answer=node_types.NodeTypeAnswer),
    Route("GET", "/api/extensions", node_types.list_extensions, VIEWER, answer=[node_types.ExtensionAnswer]),

    Route("GET", "/api/workflows", workflows.list_workflows, VIEWER, query=workflows.PageQuery,
          answer=workflows.WorkflowsAnswer),
    Route("POST", "/api/workflows", workflows.create_workflow, EDITOR, body=workflows.NewWorkflow,
          answer=workflows.WorkflowAnswer, status=201, keyed=True),
    Route("GET", _WORKFLOW, workflows.get_workflow, VIEWER, answer=workflows.WorkflowAnswer),
    Route("PUT", _WORKFLOW, workflows.update_workflow, EDITOR, body=workflows.WorkflowChange,
          answer=workflows.WorkflowAnswer),
    Route("DELETE", _WORKFLOW, workflows.delete_workflow, EDITOR, query=workflows.DeleteQuery, status=204),
    Route("GET", f"{_WORKFLOW}/draft", workflows.get_draft, VIEWER, answer=workflows.DraftAnswer),
    Route("PUT", f"{_WORKFLOW}/draft", workflows.put_draft, EDITOR, body=workflows.DraftBody,
          answer=workflows.DraftAnswer),
    Route("POST", f"{_WORKFLOW}/draft/expressions/preview", previews.preview, EDITOR, body=previews.PreviewBody,
          answer=previews.PreviewAnswer),
    Route("GET", f"{_DRAFT_NODE}/pinned", pinned.get_pinned, VIEWER, answer=pinned.PinnedAnswer),
    Route("PUT", f"{_DRAFT_NODE}/pinned", pinned.put_pinned, EDITOR, body=pinned.PinnedBody,
          answer=pinned.PinnedAnswer),
    Route("POST", f"{_DRAFT_NODE}/test", node_tests.test_node, EDITOR, body=node_tests.NodeTestBody,
          answer=node_tests.NodeTestAnswer),

    Route("GET", f"{_WORKFLOW}/nodes", edits.list_nodes, VIEWER, query=edits.PartsQuery, answer=edits.NodesAnswer),
    Route("POST", f"{_WORKFLOW}/nodes", edits.add_node, EDITOR, body=edits.NewNode, answer=edits.NodeAnswer,
          status=201, keyed=True),
    Route("GET", f"{_WORKFLOW}/nodes/{{node_id}}", edits.get_node, VIEWER, answer=edits.NodeAnswer),
    Route("PUT", f"{_WORKFLOW}/nodes/{{node_id}}", edits.change_node, EDITOR, body=edits.NodeChange,
          answer=edits.NodeAnswer),
    Route("DELETE", f"{_WORKFLOW}/nodes/{{node_id}}", edits.remove_node, EDITOR, status=204),
    Route("GET", f"{_WORKFLOW}/edges", edits.list_edges, VIEWER, query=edits.PartsQuery, answer=edits.EdgesAnswer),
    Route("POST", f"{_WORKFLOW}/edges", edits.add_edge, EDITOR, body=Edge, answer=edits.EdgeAnswer, status=201,
          keyed=True),
    Route("DELETE", f"{_WORKFLOW}/edges/{{edge_id}}", edits.remove_edge, EDITOR, status=204),
    Route("POST", f"{_WORKFLOW}/layout", edits.lay_out, EDITOR, body=edits.LayoutBody, answer=workflows.DraftAnswer),

    Route("GET", f"{_WORKFLOW}/versions", versions.list_versions, VIEWER, query=versions.VersionsQuery,
          answer=versions.VersionsAnswer),
    Route("POST", f"{_WORKFLOW}/versions", versions.create_version, EDITOR, body=versions.NewVersion,
          answer=versions.VersionAnswer, status=201, keyed=True),
    Route("GET", f"{_WORKFLOW}/versions/{{n}}", versions.get_version, VIEWER, answer=versions.VersionAnswer),
    Route("POST", f"{_WORKFLOW}/versions/{{n}}/deploy", versions.deploy_version, EDITOR,
          answer=versions.VersionAnswer),

    Route("POST", f"{_WORKFLOW}/execute", runs.execute, EDITOR, body=runs.ExecuteBody,
          answer=runs.RunAnswer, status=202, also=(200,), keyed=True),
    Route("POST", "/api/workflow-runs", runs.start_unlisted, EDITOR, body=runs.UnlistedRunBody,
          answer=runs.RunAnswer, status=202, also=(200,), keyed=True),
    Route("GET", "/api/workflow-runs", runs.list_runs, VIEWER, query=runs.RunsQuery, answer=runs.RunsAnswer),
    Route("POST", "/api/workflow-runs/purge", runs.purge_runs, ADMIN, body=runs.PurgeBody, answer=runs.PurgeAnswer),
    Route("GET", _RUN, runs.get_run, VIEWER, answer=runs.RunAnswer),
    Route("GET", f"{_RUN}/steps", runs.list_steps, VIEWER, query=runs.StepsQuery, answer=runs.StepsAnswer),
    Route("POST", f"{_RUN}/cancel", run_actions.cancel_run, EDITOR, answer=runs.RunAnswer),
    Route("POST", f"{_RUN}/pause", run_actions.pause_run, EDITOR, answer=runs.RunAnswer),
    Route("POST", f"{_RUN}/resume", run_actions.resume_run, EDITOR, answer=runs.RunAnswer),
    Route("POST", f"{_RUN}/retry", run_actions.retry_run, EDITOR, answer=runs.RunAnswer, status=202, also=(200,),
          keyed=True),
    Route("POST", f"{_RUN}/replay", run_actions.replay_run, EDITOR, body=run_actions.ReplayBody,
          answer=runs.RunAnswer, status=202, also=(200,), keyed=True),
    Route("POST", f"{_RUN}/signals/{{name}}", run_actions.send_signal, EDITOR, body=run_actions.SignalValue,
          answer=run_actions.SignalAnswer, status=202, keyed=True),
    Route("GET", f"{_RUN}/events", events.run_events, VIEWER, answer="text/event-stream"),

    Route("GET", "/api/triggers", triggers.list_triggers, VIEWER, query=triggers.TriggersQuery,
          answer=triggers.TriggersAnswer),

    Route("GET", "/api/variables", variables.list_variables, VIEWER, query=variables.VariablesQuery,
          answer=variables.VariablesAnswer),
    Route("POST", "/api/variables", variables.create_variable, EDITOR, body=variables.NewVariable,
          answer=variables.VariableAnswer, status=201, also=(200,)),
    Route("GET", _VARIABLE, variables.get_variable, VIEWER, answer=variables.VariableAnswer),
    Route("PUT", _VARIABLE, variables.put_variable, EDITOR, body=variables.VariableValue,
          answer=variables.VariableAnswer),
    Route("DELETE", _VARIABLE, variables.delete_variable, EDITOR, status=204),

    Route("GET", "/api/tokens", tokens.list_tokens, ADMIN, query=tokens.TokensQuery, answer=tokens.TokensAnswer),
    Route("POST", "/api/tokens", tokens.create_token, ADMIN, body=tokens.NewToken, answer=tokens.MadeTokenAnswer,
          status=201),
    Route("DELETE", "/api/tokens/{id}", tokens.revoke_token, ADMIN, status=204),

    Route("GET", "/api/cluster", cluster.get_cluster, VIEWER, answer=cluster.ClusterAnswer),
    Route("GET", "/api/workers", cluster.list_workers, VIEWER, query=cluster.WorkersQuery,
          answer=cluster.WorkersAnswer),
    Route("POST", "/api/workers", workers.register, WORKER, body=Registration, answer=Registered, status=201),
    Route("DELETE", _WORKER, workers.unregister, WORKER, query=workers.SessionQuery, status=204),
    Route("PUT", f"{_WORKER}/heartbeat", workers.heartbeat, WORKER, body=Beat, answer=BeatAnswer),
    Route("POST", f"{_WORKER}/claim-work", workers.claim_work, WORKER, body=Claim, answer=[Item]),
    Route("POST", f"{_WORKER}/journal", workers.journal, WORKER, body=JournalCall, answer=JournalAnswer),
    Route("POST", f"{_WORKER}/complete-work/{{item_id}}", workers.complete_work, WORKER, body=CompleteCall,
          answer=JournalAnswer),
    Route("POST", f"{_WORKER}/events", workers.events, WORKER, body=EventsCall, status=204),
    Route("GET", f"{_WORKER}/versions/{{version_id}}", workers.get_version, WORKER, query=workers.SessionQuery,
          answer="application/json"),
    Route("GET", f"{_WORKER}/journal/{{run_id}}", workers.get_journal, WORKER, query=workers.PageQuery,
          answer=JournalPage),
    Route("GET", f"{_WORKER}/inbox/{{run_id}}", workers.get_inbox, WORKER, query=workers.SessionQuery,
          answer=InboxAnswer),
    Route("GET", f"{_WORKER}/variables/{{run_id}}", workers.get_variables, WORKER, query=workers.VariablesQuery,
          answer=VariablesAnswer),
    Route("POST", f"{_WORKER}/children", workers.children, WORKER, body=ChildQuestion, answer=ChildAnswer),
    Route("GET", f"{_WORKER}/payloads/{{run_id}}/{{hash}}", workers.get_payload, WORKER, query=workers.SessionQuery,
          answer="application/octet-stream"),
    Route("PUT", f"{_WORKER}/payloads/{{run_id}}/{{hash}}", workers.put_payload, WORKER, query=workers.PartQuery,
          status=204),

    Route("GET", "/resume/{token}", approvals.show_question, OPEN, answer="*/*"),
    Route("POST", "/resume/{token}", approvals.take_answer, OPEN, answer="*/*"),
    Route("*", "/webhooks/{token}", webhooks.call_webhook, OPEN, answer="*/*", also=(202,)),
    Route("*", "/webhooks/{token}/{rest:.*}", webhooks.call_webhook, OPEN, answer="*/*", also=(202,)),
)

DEMO_ROUTES: tuple[Route, ...] = (
    Route("*", "/demo/echo", demo.echo, OPEN, answer="application/json"),
    Route("*", "/demo/json", demo.sample, OPEN, answer="application/json"),
    Route("*", "/demo/status/{code}", demo.status, OPEN, answer="application/json"),
    Route("*", "/demo/slow/{seconds}", demo.slow, OPEN, answer="application/json"),
)
# fmt: on
