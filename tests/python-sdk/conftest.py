"""Starts the built server for a run of tests: a data folder of its own, a free port, a script in the place of a model.

JOURNEYMAN_BIN names the binary; without it the debug build of this tree is taken. The client validates every answer and
every event strictly against its models, and `known` checks that nothing is sent that the models do not know.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
import uuid
from pathlib import Path
from typing import Any, Callable, Iterator

import anthropic
import pytest
from anthropic import Anthropic, BaseModel

HERE = Path(__file__).parent
KEY = "test-key"
MODEL = "scripted"
TOOLS = [{"type": "agent_toolset_20260401"}]
START_SECONDS_MAX = 30
STOP_SECONDS_MAX = 15
# A turn that takes longer than this has stopped for good.
TURN_SECONDS_MAX = 60


class Server:
    """A running server."""

    def __init__(self, folder: Path) -> None:
        default = HERE.parent.parent / "target" / "debug" / "journeyman"
        binary = os.environ.get("JOURNEYMAN_BIN", str(default))
        config = folder / "journeyman.toml"
        config.write_text(
            '[models.providers.script]\nkind = "scripted"\n'
            f"script = '{HERE / 'script.toml'}'\n\n"
            f'[[models.routes]]\npattern = "{MODEL}"\nprovider = "script"\n\n'
            '[[models.routes]]\npattern = "scripted-*"\nprovider = "script"\n\n'
            '[[models.routes]]\npattern = "other"\nprovider = "script"\n'
        )
        self.data = folder / "data"
        self.log = folder / "server.log"
        command = [binary, "serve", "--listen", "127.0.0.1:0", "--data", str(self.data), "--config", str(config)]
        environment = {"PATH": os.environ["PATH"], "JOURNEYMAN_API_KEY": KEY}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
            )
        self.base_url = self._wait()

    def _wait(self) -> str:
        """Reads standard output until the server says where it listens, and goes on reading so that it never blocks."""
        found: list[str] = []
        ready = threading.Event()

        def read() -> None:
            assert self.process.stdout is not None
            for line in self.process.stdout:
                match = re.match(rb"listening on (http://\S+)", line)
                if match:
                    found.append(match.group(1).decode())
                    ready.set()
            ready.set()

        self.reader = threading.Thread(target=read, daemon=True)
        self.reader.start()
        ready.wait(START_SECONDS_MAX)
        if not found:
            self.stop()
            raise RuntimeError(f"the server did not start: {self.log.read_text()}")
        return found[0]

    def client(self, **options: Any) -> Anthropic:
        """A strict client; `options` replace its own."""
        defaults: dict[str, Any] = {
            "base_url": self.base_url,
            "api_key": KEY,
            "max_retries": 0,
            "timeout": TURN_SECONDS_MAX,
            "_strict_response_validation": True,
        }
        return Anthropic(**{**defaults, **options})

    def stop(self) -> None:
        """Ends the server, and the spawner that outlives it on purpose."""
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.reader.join(STOP_SECONDS_MAX)
        assert self.process.stdout is not None
        self.process.stdout.close()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"spawner" in words and str(self.data).encode() in words:
                os.kill(int(entry.name), signal.SIGTERM)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("journeyman"))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def client(server: Server) -> Iterator[Anthropic]:
    with server.client() as strict:
        yield strict


def unique(name: str) -> str:
    """A name that no other test has."""
    return f"{name}-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def agent(client: Anthropic) -> Any:
    return client.beta.agents.create(name=unique("agent"), model=MODEL, tools=TOOLS)


@pytest.fixture
def environment(client: Anthropic) -> Any:
    return client.beta.environments.create(name=unique("environment"))


@pytest.fixture
def session(client: Anthropic, agent: Any, environment: Any) -> Any:
    return client.beta.sessions.create(agent=agent.id, environment_id=environment.id)


def known(value: Any) -> Any:
    """Checks that an answer holds no field that its model does not know, at any depth, and gives it back."""
    unknown = sorted(_unknown(value, type(value).__name__))
    assert not unknown, f"fields that the official models do not know: {unknown}"
    return value


def _unknown(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, BaseModel):
        for name in value.model_extra or {}:
            yield f"{path}.{name}"
        for name in type(value).model_fields:
            yield from _unknown(getattr(value, name, None), f"{path}.{name}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unknown(item, f"{path}.{index}")


def message(text: str) -> dict[str, Any]:
    """A `user.message` event."""
    return {"type": "user.message", "content": [{"type": "text", "text": text}]}


def text_of(event: Any) -> str:
    """The texts of an event's content."""
    return "".join(block.text for block in event.content if block.type == "text")


def types_of(events: list[Any]) -> list[str]:
    return [event.type for event in events]


def last_of(events: list[Any], type_: str) -> Any:
    return [event for event in events if event.type == type_][-1]


def is_end(event: Any) -> bool:
    """Whether nothing more comes after an event until somebody sends something."""
    return event.type in ("session.status_idle", "session.status_terminated", "session.deleted")


def until_end(stream: Any, each: Callable[[Any], None] | None = None) -> list[Any]:
    """Every event up to the one that ends the turn, checked."""
    events: list[Any] = []
    for event in stream:
        events.append(known(event))
        if each is not None:
            each(event)
        if is_end(event):
            return events
    raise AssertionError(f"the stream ended in the middle of a turn, after {types_of(events)}")


def run_turn(client: Anthropic, session_id: str, text: str, **options: Any) -> list[Any]:
    """Sends a message and gives every event of the turn as a stream that was open before shows it."""
    with client.beta.sessions.events.stream(session_id, **options) as stream:
        client.beta.sessions.events.send(session_id, events=[message(text)])
        return until_end(stream)


def wait_until_idle(client: Anthropic, session_id: str) -> Any:
    """The session once it is idle and nothing that was sent waits; for turns that nobody watches."""
    deadline = time.monotonic() + TURN_SECONDS_MAX
    while time.monotonic() < deadline:
        # It is idle still for a moment after a message was sent.
        sent = client.beta.sessions.events.list(session_id)
        is_picked_up = all(event.processed_at is not None for event in sent)
        found = client.beta.sessions.retrieve(session_id)
        if is_picked_up and found.status == "idle":
            return found
        time.sleep(0.02)
    raise AssertionError(f"session {session_id} is still {found.status}")


def refused(call: Callable[[], Any], class_: type[anthropic.APIStatusError]) -> anthropic.APIStatusError:
    """The error that a call raises, of a class or one below it, checked for what every error carries."""
    with pytest.raises(class_) as info:
        call()
    error = info.value
    assert error.request_id is not None and error.request_id.startswith("req_")
    assert isinstance(error.body, dict)
    assert error.body["type"] == "error"
    assert error.body["request_id"] == error.request_id
    return error
