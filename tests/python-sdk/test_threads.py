"""The primary thread of a session through the official client."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest
from anthropic import Anthropic

from conftest import known, last_of, message, refused, run_turn, text_of, types_of, wait_until_idle


@pytest.fixture
def thread(client: Anthropic, session: Any) -> Any:
    threads = list(client.beta.sessions.threads.list(session.id))
    assert len(threads) == 1
    return known(threads[0])


def test_a_session_has_a_primary_thread(client: Anthropic, session: Any, thread: Any) -> None:
    assert thread.id.startswith("sthr_")
    assert (thread.session_id, thread.parent_thread_id, thread.workflow_run_id) == (session.id, None, None)
    assert (thread.status, thread.usage, thread.stats, thread.archived_at) == ("idle", None, None, None)
    assert (thread.agent.type, thread.agent.id, thread.agent.model) == (
        "agent",
        session.agent.id,
        session.agent.model,
    )
    assert known(client.beta.sessions.threads.retrieve(thread.id, session_id=session.id)) == thread


def test_threads_are_filtered_by_status(client: Anthropic, session: Any, thread: Any) -> None:
    assert [found.id for found in client.beta.sessions.threads.list(session.id, statuses=["idle"])] == [thread.id]
    assert list(client.beta.sessions.threads.list(session.id, statuses=["running", "terminated"], limit=5)) == []


def test_a_thread_has_usage_and_stats_after_its_first_turn(client: Anthropic, session: Any, thread: Any) -> None:
    run_turn(client, session.id, "hello")
    wait_until_idle(client, session.id)
    after = known(client.beta.sessions.threads.retrieve(thread.id, session_id=session.id))
    assert after.usage.output_tokens > 0
    # A turn of the scripted model may well take less than the millisecond that is counted.
    assert 0 <= after.stats.active_seconds <= after.stats.duration_seconds


def test_the_stream_of_a_thread_shows_its_turn(client: Anthropic, session: Any, thread: Any) -> None:
    events: list[Any] = []
    with client.beta.sessions.threads.events.stream(
        thread.id, session_id=session.id, event_deltas=["agent.message"]
    ) as stream:
        client.beta.sessions.events.send(session.id, events=[message("Please count the words.")])
        for event in stream:
            events.append(known(event))
            if event.type == "session.thread_status_idle":
                break
    assert {"agent.tool_use", "agent.tool_result", "event_start", "event_delta"} <= set(types_of(events))
    assert events[-1].session_thread_id == thread.id
    assert text_of(last_of(events, "agent.message")).strip() == "There are this many: 3"


def test_the_history_of_a_thread_is_paged(client: Anthropic, session: Any, thread: Any) -> None:
    run_turn(client, session.id, "hello")
    whole = [known(event) for event in client.beta.sessions.threads.events.list(thread.id, session_id=session.id)]
    paged = client.beta.sessions.threads.events.list(thread.id, session_id=session.id, limit=3)
    assert [event.id for event in paged] == [event.id for event in whole]
    assert {"user.message", "agent.message", "session.thread_status_idle"} <= set(types_of(whole))


def test_the_primary_thread_is_not_archived_alone(client: Anthropic, session: Any, thread: Any) -> None:
    refused(
        lambda: client.beta.sessions.threads.archive(thread.id, session_id=session.id), anthropic.BadRequestError
    )


def test_a_thread_of_another_session_is_not_found(client: Anthropic, session: Any) -> None:
    refused(
        lambda: client.beta.sessions.threads.retrieve("sthr_none", session_id=session.id), anthropic.NotFoundError
    )
