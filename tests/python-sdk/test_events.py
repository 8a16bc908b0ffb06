"""Events through the official client: whole turns, history, previews, interrupts, failures."""

from __future__ import annotations

import asyncio
from typing import Any

import anthropic
from anthropic import Anthropic, AsyncAnthropic
from anthropic.lib.sessions import accumulate_managed_agents_event

from conftest import (
    KEY,
    Server,
    is_end,
    known,
    last_of,
    message,
    refused,
    run_turn,
    text_of,
    types_of,
    unique,
    until_end,
    wait_until_idle,
)


def test_sent_events_are_answered_with_their_ids(client: Anthropic, session: Any) -> None:
    sent = known(client.beta.sessions.events.send(session.id, events=[message("hello")]))
    assert sent.data is not None and len(sent.data) == 1
    event = sent.data[0]
    assert (event.type, text_of(event)) == ("user.message", "hello")
    assert event.id.startswith("sevt_")
    wait_until_idle(client, session.id)
    stored = [found for found in client.beta.sessions.events.list(session.id) if found.id == event.id]
    assert len(stored) == 1 and stored[0].processed_at is not None


def test_a_turn_runs_a_command_and_answers(client: Anthropic, session: Any) -> None:
    events = run_turn(client, session.id, "Please count the words.")
    expected = [
        "user.message",
        "session.status_running",
        "session.thread_status_running",
        "span.model_request_start",
        "agent.message",
        "agent.tool_use",
        "span.model_request_end",
        "agent.tool_result",
        "span.model_request_start",
        "agent.message",
        "span.model_request_end",
        "session.thread_status_idle",
        "session.usage",
        "session.status_idle",
    ]
    # The user's message is seen when it is stored and again when it is picked up.
    seen = types_of([event for event in events if event.type != "user.message"])
    assert sorted(seen) == sorted(expected[1:])
    for earlier, later in [
        ("session.status_running", "span.model_request_start"),
        ("agent.tool_use", "agent.tool_result"),
        ("session.thread_status_idle", "session.usage"),
        ("session.usage", "session.status_idle"),
    ]:
        assert seen.index(earlier) < seen.index(later)

    use = last_of(events, "agent.tool_use")
    assert (use.name, use.input, use.evaluated_permission) == (
        "bash",
        {"command": "echo one two three | wc -w"},
        "allow",
    )
    result = last_of(events, "agent.tool_result")
    assert (result.tool_use_id, result.is_error, text_of(result).strip()) == (use.id, False, "3")
    assert text_of(last_of(events, "agent.message")).strip() == "There are this many: 3"
    assert events[-1].stop_reason.type == "end_turn"
    start, end = last_of(events, "span.model_request_start"), last_of(events, "span.model_request_end")
    assert (end.model_request_start_id, end.is_error) == (start.id, False)
    assert end.model_usage.output_tokens > 0

    found = known(wait_until_idle(client, session.id))
    assert found.usage.output_tokens is not None and found.usage.output_tokens >= end.model_usage.output_tokens
    assert found.stats.active_seconds is not None and found.stats.active_seconds > 0


def test_a_turn_runs_with_the_asynchronous_client(server: Server, session: Any) -> None:
    async def turn() -> list[Any]:
        async with AsyncAnthropic(
            base_url=server.base_url, api_key=KEY, max_retries=0, _strict_response_validation=True
        ) as client:
            async with await client.beta.sessions.events.stream(session.id) as stream:
                await client.beta.sessions.events.send(session.id, events=[message("Please count the words.")])
                events: list[Any] = []
                async for event in stream:
                    events.append(known(event))
                    if is_end(event):
                        break
            listed = [event.id async for event in client.beta.sessions.events.list(session.id, limit=5)]
            assert listed == list(dict.fromkeys(listed))
            assert set(listed) == {event.id for event in events}
            return events

    assert text_of(last_of(asyncio.run(turn()), "agent.message")).strip() == "There are this many: 3"


def test_tools_run_side_by_side_and_one_may_fail(client: Anthropic, session: Any) -> None:
    events = run_turn(client, session.id, "write and read")
    uses = [event for event in events if event.type == "agent.tool_use"]
    results = {event.tool_use_id: event for event in events if event.type == "agent.tool_result"}
    assert [use.name for use in uses] == ["write", "read", "bash"]
    assert set(results) == {use.id for use in uses}
    assert [results[use.id].is_error for use in uses] == [False, False, True]
    assert text_of(results[uses[1].id]) == "from a tool"
    assert "missing.txt" in text_of(results[uses[2].id])


def test_the_history_is_what_the_stream_has_shown(client: Anthropic, session: Any) -> None:
    streamed = run_turn(client, session.id, "Please count the words.")
    listed = [known(event) for event in client.beta.sessions.events.list(session.id)]
    # What a stream shows twice, a list shows once, as it was the last time.
    latest = {event.id: event for event in streamed}
    assert {event.id: event for event in listed} == latest
    assert len(listed) == len(latest)
    assert [event.processed_at for event in listed] == sorted(event.processed_at for event in listed)


def test_history_is_paged_both_ways_and_filtered(client: Anthropic, session: Any) -> None:
    run_turn(client, session.id, "one")
    run_turn(client, session.id, "two")
    whole = [event.id for event in client.beta.sessions.events.list(session.id)]
    assert len(whole) > 10
    assert [event.id for event in client.beta.sessions.events.list(session.id, limit=3)] == whole
    backwards = client.beta.sessions.events.list(session.id, limit=4, order="desc")
    assert [event.id for event in backwards] == list(reversed(whole))
    wanted: Any = ["user.message", "agent.message"]
    spoken = list(client.beta.sessions.events.list(session.id, types=wanted, limit=1))
    assert [text_of(event) for event in spoken] == ["one", "You said: one", "two", "You said: two"]
    after = spoken[1].processed_at
    later = client.beta.sessions.events.list(session.id, types=wanted, created_at_gt=after)
    assert [text_of(event) for event in later] == ["two", "You said: two"]
    earlier = client.beta.sessions.events.list(session.id, types=wanted, created_at_lte=after)
    assert [text_of(event) for event in earlier] == ["one", "You said: one"]


def test_previews_add_up_to_the_message(client: Anthropic, session: Any) -> None:
    snapshot = None
    previews: list[str] = []

    with client.beta.sessions.events.stream(
        session.id, event_deltas=["agent.message", "agent.thinking"]
    ) as stream:
        client.beta.sessions.events.send(session.id, events=[message("tell a long story")])
        events: list[Any] = []
        for event in stream:
            events.append(known(event))
            before = snapshot
            snapshot = accumulate_managed_agents_event(snapshot, event)
            if event.type == "event_delta":
                assert snapshot is not None
                previews.append(text_of(snapshot))
            if event.type == "agent.message" and before is not None:
                assert event.id == before.id
                assert text_of(event).startswith(text_of(before))
            if event.type == "session.status_idle":
                break

    types = types_of(events)
    final = last_of(events, "agent.message")
    assert snapshot == final
    assert len(previews) > 3, "the text came in pieces"
    assert all(later.startswith(earlier) for earlier, later in zip(previews, previews[1:]))
    starts = [event.event for event in events if event.type == "event_start"]
    assert [start.type for start in starts] == ["agent.thinking", "agent.message"]
    thinking = last_of(events, "agent.thinking")
    assert [start.id for start in starts] == [thinking.id, final.id]
    assert types.index("event_start") < types.index("agent.thinking") < types.index("agent.message")
    listed = types_of(list(client.beta.sessions.events.list(session.id)))
    assert "event_start" not in listed and "event_delta" not in listed


def test_a_stream_that_asks_for_no_previews_gets_none(client: Anthropic, session: Any) -> None:
    events = run_turn(client, session.id, "tell a long story")
    assert not {"event_start", "event_delta"} & set(types_of(events))


def test_an_interrupt_stops_a_turn_and_the_next_message_starts_another(client: Anthropic, session: Any) -> None:
    with client.beta.sessions.events.stream(session.id) as stream:
        client.beta.sessions.events.send(session.id, events=[message("never stop")])
        events = iter(stream)
        while next(events).type != "span.model_request_start":
            pass
        interrupt = known(client.beta.sessions.events.send(session.id, events=[{"type": "user.interrupt"}]))
        assert interrupt.data is not None and interrupt.data[0].type == "user.interrupt"
        stopped = until_end(events)
    assert stopped[-1].stop_reason.type == "end_turn"
    applied = last_of(stopped, "user.interrupt")
    assert applied.id == interrupt.data[0].id and applied.processed_at is not None
    assert "span.model_request_end" in types_of(stopped)
    events = run_turn(client, session.id, "start over")
    assert text_of(last_of(events, "agent.message")) == "It is a new start."


def test_a_model_that_refuses_for_good_is_told_as_an_error(client: Anthropic, session: Any) -> None:
    events = run_turn(client, session.id, "fail for good")
    error = last_of(events, "session.error").error
    assert error.type == "model_request_failed_error"
    assert error.retry_status.type in ("exhausted", "terminal")
    assert last_of(events, "span.model_request_end").is_error is True


def test_a_session_without_a_sandbox_says_so_once_in_a_turn_and_goes_on(client: Anthropic, agent: Any) -> None:
    environment = client.beta.environments.create(name=unique("broken"), config={"type": "cloud"})
    setup = "echo first step\necho there is no such thing >&2\nexit 3\n"
    client.post(f"/x/v1/environments/{environment.id}/sandbox", body={"setup": setup}, cast_to=object)
    session = client.beta.sessions.create(agent=agent.id, environment_id=environment.id)
    events = run_turn(client, session.id, "write and read")
    results = [event for event in events if event.type == "agent.tool_result"]
    assert [result.is_error for result in results] == [True, True, True]
    errors = [event.error for event in events if event.type == "session.error"]
    assert [(error.type, error.retry_status.type) for error in errors] == [("unknown_error", "retrying")]
    for part in ["setup failed with exit status 3", "first step", "there is no such thing"]:
        assert part in errors[0].message
    assert types_of(events).index("session.error") < types_of(events).index("agent.tool_result")
    assert events[-1].stop_reason.type == "end_turn"
    shown: Any = client.get(f"/x/v1/environments/{environment.id}/build", cast_to=object)
    assert (shown["status"], shown["step"]) == ("failed", "setup")


def test_pictures_and_documents_are_kept_as_they_were_sent(client: Anthropic, session: Any) -> None:
    pixel = (
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    )
    content: Any = [
        {"type": "text", "text": "look"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": pixel}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {"type": "document", "title": "t", "source": {"type": "text", "media_type": "text/plain", "data": "x"}},
        {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}},
    ]
    sent = known(client.beta.sessions.events.send(session.id, events=[{"type": "user.message", "content": content}]))
    assert sent.data is not None
    assert [block.type for block in sent.data[0].content] == ["text", "image", "image", "document", "document"]
    assert sent.data[0].content[1].source.data == pixel
    wait_until_idle(client, session.id)


def test_one_bad_event_refuses_all(client: Anthropic, session: Any) -> None:
    bad: Any = {"type": "user.message", "content": [{"type": "redacted"}]}
    error = refused(
        lambda: client.beta.sessions.events.send(session.id, events=[message("good"), bad]), anthropic.BadRequestError
    )
    assert error.api_message is not None and error.api_message.startswith("events.1.content.0: ")
    assert list(client.beta.sessions.events.list(session.id)) == []


def test_an_answer_to_a_call_that_nobody_made_is_refused(client: Anthropic, session: Any) -> None:
    answers: list[Any] = [
        {"type": "user.tool_confirmation", "tool_use_id": "sevt_none", "result": "allow"},
        {"type": "user.custom_tool_result", "custom_tool_use_id": "sevt_none", "content": []},
        {"type": "user.tool_result", "tool_use_id": "sevt_none", "content": []},
    ]
    for answer in answers:
        refused(lambda: client.beta.sessions.events.send(session.id, events=[answer]), anthropic.BadRequestError)
