"""Sessions through the official client."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest
from anthropic import Anthropic

from conftest import MODEL, is_end, known, message, refused, run_turn, text_of, types_of, until_end, wait_until_idle


def test_a_session_is_created_idle_with_its_agent(client: Anthropic, agent: Any, environment: Any) -> None:
    session = known(
        client.beta.sessions.create(
            agent=agent.id, environment_id=environment.id, title="t", metadata={"a": "b"}, resources=[], vault_ids=[]
        )
    )
    assert session.id.startswith("sesn_")
    assert (session.status, session.title, session.metadata) == ("idle", "t", {"a": "b"})
    assert (session.agent.id, session.agent.version, session.agent.name) == (agent.id, 1, agent.name)
    assert (session.budget, session.deployment_id, session.archived_at) == (None, None, None)
    assert (session.resources, session.vault_ids, session.outcome_evaluations) == ([], [], [])
    assert session.stats.active_seconds == 0 and session.usage.input_tokens == 0


def test_a_session_can_have_an_older_version_of_its_agent(client: Anthropic, agent: Any, environment: Any) -> None:
    client.beta.agents.update(agent.id, system="new")
    pinned = client.beta.sessions.create(
        agent={"type": "agent", "id": agent.id, "version": 1}, environment_id=environment.id
    )
    newest = client.beta.sessions.create(agent={"type": "agent", "id": agent.id}, environment_id=environment.id)
    assert (pinned.agent.version, pinned.agent.system) == (1, None)
    assert (newest.agent.version, newest.agent.system) == (2, "new")


def test_a_session_can_have_its_agent_otherwise(client: Anthropic, environment: Any) -> None:
    base = client.beta.agents.create(name="base", model={"id": MODEL, "effort": "max"}, system="s")
    session = known(
        client.beta.sessions.create(
            agent={
                "type": "agent_with_overrides",
                "id": base.id,
                "model": {"id": "other", "effort": "low"},
                "system": None,
                "tools": [{"type": "agent_toolset_20260401"}],
            },
            environment_id=environment.id,
        )
    )
    assert (session.agent.id, session.agent.version) == (base.id, 1)
    assert session.agent.model.id == "other"
    assert session.agent.model.effort is not None and session.agent.model.effort.type == "high"
    assert session.agent.system is None and len(session.agent.tools) == 1
    assert client.beta.agents.retrieve(base.id) == base


def test_initial_events_start_a_session_at_once(client: Anthropic, agent: Any, environment: Any) -> None:
    session = client.beta.sessions.create(
        agent=agent.id, environment_id=environment.id, initial_events=[message("hello")]
    )
    assert session.status == "running"
    assert known(wait_until_idle(client, session.id)).usage.output_tokens > 0
    events = list(client.beta.sessions.events.list(session.id))
    assert events[0].type == "user.message"
    assert text_of([event for event in events if event.type == "agent.message"][-1]) == "You said: hello"


def test_an_update_changes_title_and_metadata_and_is_told_on_the_stream(client: Anthropic, session: Any) -> None:
    with client.beta.sessions.events.stream(session.id) as stream:
        updated = known(client.beta.sessions.update(session.id, title="new", metadata={"a": "1", "b": "2"}))
        event = known(next(iter(stream)))
    assert (updated.title, updated.metadata) == ("new", {"a": "1", "b": "2"})
    assert event.type == "session.updated"
    assert (event.title, event.metadata) == ("new", {"a": "1", "b": "2"})
    updated = client.beta.sessions.update(session.id, metadata={"a": None})
    assert (updated.title, updated.metadata) == ("new", {"b": "2"})
    assert client.beta.sessions.retrieve(session.id).metadata == {"b": "2"}


def test_an_update_changes_the_tools_of_one_session(client: Anthropic, session: Any, agent: Any) -> None:
    updated = known(client.beta.sessions.update(session.id, agent={"tools": []}))
    assert updated.agent.tools == []
    listed = list(client.beta.sessions.events.list(session.id, types=["session.updated"]))
    assert known(listed[-1]).agent.tools == []
    assert client.beta.agents.retrieve(agent.id) == agent


@pytest.fixture
def five(client: Anthropic, agent: Any, environment: Any) -> list[str]:
    """Five sessions of an agent that has no others, oldest first."""
    return [client.beta.sessions.create(agent=agent.id, environment_id=environment.id).id for _ in range(5)]


def test_sessions_are_listed_over_pages_in_both_orders(client: Anthropic, agent: Any, five: list[str]) -> None:
    newest_first = list(client.beta.sessions.list(agent_id=agent.id, limit=2))
    assert [known(session).id for session in newest_first] == list(reversed(five))
    oldest_first = list(client.beta.sessions.list(agent_id=agent.id, limit=2, order="asc"))
    assert [session.id for session in oldest_first] == five


def test_pages_of_sessions_are_turned_back(client: Anthropic, agent: Any, five: list[str]) -> None:
    newest_first = list(reversed(five))

    def page(cursor: str | None = None) -> Any:
        options = {} if cursor is None else {"page": cursor}
        return known(client.beta.sessions.list(agent_id=agent.id, limit=2, **options))

    def ids(shown: Any) -> list[str]:
        return [session.id for session in shown.data]

    first = page()
    assert (ids(first), first.prev_page) == (newest_first[:2], None)
    second = page(first.next_page)
    third = page(second.next_page)
    assert (ids(third), third.next_page) == (newest_first[4:], None)
    back = page(third.prev_page)
    assert ids(back) == ids(second) == newest_first[2:4]
    start = page(back.prev_page)
    assert (ids(start), start.prev_page) == (newest_first[:2], None)
    assert ids(page(start.next_page)) == newest_first[2:4]


def test_sessions_are_filtered(client: Anthropic, agent: Any, five: list[str]) -> None:
    def ids(**options: Any) -> list[str]:
        return [session.id for session in client.beta.sessions.list(agent_id=agent.id, order="asc", **options)]

    client.beta.sessions.archive(five[0])
    assert ids() == five[1:]
    assert ids(include_archived=True) == five
    assert ids(statuses=["terminated"], include_archived=True) == five[:1]
    assert ids(statuses=["idle", "running"]) == five[1:]
    assert ids(agent_version=1) == five[1:]
    assert ids(agent_version=2) == []
    assert ids(deployment_id="depl_none") == []
    assert ids(memory_store_id="memstore_none") == []
    second = client.beta.sessions.retrieve(five[1])
    assert ids(created_at_gt=second.created_at) == five[2:]
    assert ids(created_at_gte=second.created_at) == five[1:]
    assert ids(created_at_lte=second.created_at) == five[1:2]
    assert ids(created_at_lt=second.created_at, include_archived=True) == five[:1]


def test_a_cursor_for_another_order_is_refused(client: Anthropic, agent: Any, five: list[str]) -> None:
    cursor = client.beta.sessions.list(agent_id=agent.id, limit=2).next_page
    assert cursor is not None
    error = refused(
        lambda: client.beta.sessions.list(agent_id=agent.id, limit=2, order="asc", page=cursor),
        anthropic.BadRequestError,
    )
    assert "page" in error.message


def test_an_archived_session_has_ended_and_can_still_be_read(client: Anthropic, session: Any) -> None:
    run_turn(client, session.id, "hello")
    with client.beta.sessions.events.stream(session.id) as stream:
        archived = known(client.beta.sessions.archive(session.id))
        told = types_of([known(event) for event in stream])
    assert (archived.status, archived.archived_at is not None) == ("terminated", True)
    assert told[-1] == "session.status_terminated"
    assert client.beta.sessions.retrieve(session.id).status == "terminated"
    assert "agent.message" in types_of(list(client.beta.sessions.events.list(session.id)))
    refused(lambda: client.beta.sessions.events.send(session.id, events=[message("more")]), anthropic.ConflictError)


def test_a_deleted_session_is_gone_and_its_streams_are_told(client: Anthropic, session: Any) -> None:
    with client.beta.sessions.events.stream(session.id) as stream:
        deleted = known(client.beta.sessions.delete(session.id))
        told = [known(event) for event in stream]
    assert (deleted.id, deleted.type) == (session.id, "session_deleted")
    assert told[-1].type == "session.deleted"
    refused(lambda: client.beta.sessions.retrieve(session.id), anthropic.NotFoundError)
    refused(lambda: list(client.beta.sessions.events.list(session.id)), anthropic.NotFoundError)


def test_a_running_session_is_neither_archived_nor_deleted(client: Anthropic, session: Any) -> None:
    with client.beta.sessions.events.stream(session.id) as stream:
        client.beta.sessions.events.send(session.id, events=[message("never stop")])
        events = iter(stream)
        while next(events).type != "span.model_request_start":
            pass
        refused(lambda: client.beta.sessions.archive(session.id), anthropic.BadRequestError)
        refused(lambda: client.beta.sessions.delete(session.id), anthropic.BadRequestError)
        client.beta.sessions.events.send(session.id, events=[{"type": "user.interrupt"}])
        assert is_end(until_end(events)[-1])
    wait_until_idle(client, session.id)
    client.beta.sessions.delete(session.id)
