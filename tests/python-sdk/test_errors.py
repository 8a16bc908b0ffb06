"""Errors as the official client raises them: the class, the type, the code, the field, and whether it tries again."""

from __future__ import annotations

from typing import Any, Callable

import anthropic
import pytest
from anthropic import Anthropic

from conftest import MODEL, TOOLS, Server, message, refused


def test_a_wrong_field_is_named(client: Anthropic) -> None:
    cases: list[tuple[Callable[[], Any], str]] = [
        (lambda: client.beta.agents.create(name="", model=MODEL), "name: "),
        (lambda: client.beta.agents.create(name="x" * 257, model=MODEL), "name: "),
        (lambda: client.beta.agents.create(name="a", model={"id": MODEL, "effort": "huge"}), "model.effort: "),
        (lambda: client.beta.agents.create(name="a", model=MODEL, tools=[{"type": "python"}]), "tools.0: "),
        (lambda: client.beta.agents.create(name="a", model=MODEL, metadata={"k": "v" * 513}), "metadata.k: "),
        (lambda: client.beta.agents.create(name="a", model=MODEL, extra_body={"temperature": 1}), "temperature: "),
        (lambda: client.beta.agents.list(limit=101), "limit: "),
        (lambda: client.beta.agents.list(page="nonsense"), "page: "),
        (lambda: client.beta.environments.create(name="e", config={"type": "vm"}), "config: "),
        (lambda: client.beta.sessions.create(agent="x", environment_id="env_1"), "agent: "),
        (lambda: client.beta.sessions.list(statuses=["asleep"]), "statuses.0: "),
    ]
    for call, field in cases:
        error = refused(call, anthropic.BadRequestError)
        assert error.type == "invalid_request_error"
        assert error.api_message is not None and error.api_message.startswith(field), error.api_message


def test_what_is_not_built_says_so_and_names_the_field(client: Anthropic, agent: Any, environment: Any) -> None:
    cases: list[tuple[Callable[[], Any], str]] = [
        (
            lambda: client.beta.agents.create(
                name="a",
                model=MODEL,
                tools=[{"type": "custom", "name": "t", "description": "d", "input_schema": {"type": "object"}}],
            ),
            "tools.0: ",
        ),
        (
            lambda: client.beta.environments.create(name="e", config={"type": "self_hosted"}),
            "config.type: ",
        ),
        (
            lambda: client.beta.sessions.create(
                agent=agent.id, environment_id=environment.id, vault_ids=["vlt_1"]
            ),
            "vault_ids: ",
        ),
    ]
    for call, field in cases:
        error = refused(call, anthropic.BadRequestError)
        assert error.api_message is not None and error.api_message.startswith(field), error.api_message
        assert error.api_message.endswith("is not supported by this server yet")


def test_a_reason_is_carried_as_a_code(client: Anthropic, agent: Any, environment: Any) -> None:
    reference: Any = {"type": "agent_with_overrides", "id": agent.id, "model": None}
    error = refused(
        lambda: client.beta.sessions.create(agent=reference, environment_id=environment.id), anthropic.BadRequestError
    )
    assert error.error_code == "agent_model_required"


def test_a_wrong_key_is_an_authentication_error(server: Server) -> None:
    with server.client(api_key="wrong") as stranger:
        error = refused(lambda: stranger.beta.agents.list(), anthropic.AuthenticationError)
        assert error.type == "authentication_error"


def test_a_key_is_taken_as_a_bearer_token(server: Server) -> None:
    with server.client(api_key=None, auth_token="test-key") as bearer:
        bearer.beta.agents.list(limit=1)


def test_what_does_not_exist_is_not_found(client: Anthropic, agent: Any, environment: Any) -> None:
    cases: list[Callable[[], Any]] = [
        lambda: client.beta.agents.retrieve("agent_none"),
        lambda: client.beta.agents.retrieve(agent.id, version=99),
        lambda: client.beta.agents.update("agent_none", name="x"),
        lambda: client.beta.agents.versions.list("agent_none"),
        lambda: client.beta.environments.retrieve("env_none"),
        lambda: client.beta.environments.delete("env_none"),
        lambda: client.beta.sessions.retrieve("sesn_none"),
        lambda: client.beta.sessions.events.list("sesn_none"),
        lambda: client.beta.sessions.events.send("sesn_none", events=[message("x")]),
        lambda: client.beta.sessions.events.stream("sesn_none"),
        lambda: client.beta.sessions.threads.list("sesn_none"),
        lambda: client.beta.sessions.create(agent="agent_none", environment_id=environment.id),
        lambda: client.beta.sessions.create(agent=agent.id, environment_id="env_none"),
    ]
    for call in cases:
        assert refused(call, anthropic.NotFoundError).type == "not_found_error"


def test_a_route_does_not_exist_without_its_beta_header(server: Server, client: Anthropic) -> None:
    error = refused(lambda: client.get("/v1/agents", cast_to=object), anthropic.NotFoundError)
    assert "managed-agents-2026-04-01" in error.message


def test_a_conflict_is_not_tried_again(server: Server, agent: Any) -> None:
    with server.client(max_retries=2) as patient:
        patient.beta.agents.update(agent.id, system="new")
        error = refused(lambda: patient.beta.agents.update(agent.id, version=1, name="late"), anthropic.ConflictError)
    assert error.type == "conflict_error"
    assert error.response.headers["x-should-retry"] == "false"
    assert error.response.request.headers["x-stainless-retry-count"] == "0"


def test_a_body_over_the_limit_is_too_large(client: Anthropic) -> None:
    error = refused(
        lambda: client.beta.agents.create(name="a", model=MODEL, system="x" * (33 << 20)),
        anthropic.ContentTooLargeError,
    )
    assert error.type == "request_too_large"


def test_a_preview_of_anything_else_is_refused(client: Anthropic, session: Any) -> None:
    wanted: Any = ["agent.tool_use"]
    error = refused(
        lambda: client.beta.sessions.events.stream(session.id, event_deltas=wanted), anthropic.BadRequestError
    )
    assert error.api_message is not None and error.api_message.startswith("event_deltas.0: ")


def test_a_model_that_nobody_serves_is_refused(client: Anthropic) -> None:
    refused(lambda: client.beta.agents.create(name="a", model="nobody-serves-this"), anthropic.BadRequestError)


@pytest.mark.parametrize("role", ["agent", "environment"])
def test_an_archived_part_makes_no_session(client: Anthropic, agent: Any, environment: Any, role: str) -> None:
    if role == "agent":
        client.beta.agents.archive(agent.id)
    else:
        client.beta.environments.archive(environment.id)
    error = refused(
        lambda: client.beta.sessions.create(agent=agent.id, environment_id=environment.id), anthropic.BadRequestError
    )
    assert role in error.message


def test_answers_name_the_workspace(client: Anthropic) -> None:
    raw = client.beta.agents.with_raw_response.create(name="a", model=MODEL, tools=TOOLS)
    assert raw.headers["anthropic-workspace-id"].startswith("wrkspc_")
    assert raw.headers["request-id"].startswith("req_")
