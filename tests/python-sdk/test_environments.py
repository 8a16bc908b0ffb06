"""Environments through the official client."""

from __future__ import annotations

from typing import Any

import anthropic
from anthropic import Anthropic
from anthropic.types.beta.beta_environment_archived_error import BetaEnvironmentArchivedError
from anthropic.types.beta.beta_invalid_config_type_change_error import BetaInvalidConfigTypeChangeError

from conftest import known, refused, unique


def test_an_environment_is_created_with_everything(client: Anthropic) -> None:
    environment = known(
        client.beta.environments.create(
            name=unique("full"),
            description="for tests",
            config={
                "type": "cloud",
                "networking": {"type": "unrestricted"},
                "packages": {"type": "packages", "pip": []},
            },
            metadata={"a": "b"},
            scope="organization",
        )
    )
    assert environment.id.startswith("env_")
    assert environment.config.type == "cloud"
    assert environment.config.networking.type == "unrestricted"
    assert environment.config.packages.pip == []
    assert (environment.scope, environment.metadata, environment.archived_at) == ("organization", {"a": "b"}, None)


def test_an_environment_is_read_back_as_it_was_answered(client: Anthropic, environment: Any) -> None:
    assert known(client.beta.environments.retrieve(environment.id)) == environment


def test_an_update_keeps_what_it_leaves_out(client: Anthropic) -> None:
    made = client.beta.environments.create(name=unique("update"), description="d", metadata={"a": "1", "b": "2"})
    name = unique("renamed")
    updated = known(client.beta.environments.update(made.id, name=name, metadata={"a": None}))
    assert (updated.name, updated.description, updated.metadata) == (name, "d", {"b": "2"})
    cleared = client.beta.environments.update(made.id, description=None)
    assert cleared.description is None
    assert client.beta.environments.retrieve(made.id) == cleared


def test_environments_are_listed_over_pages(client: Anthropic) -> None:
    made = [client.beta.environments.create(name=unique("page")).id for _ in range(3)]
    first = known(client.beta.environments.list(limit=1))
    assert len(first.data) == 1 and first.next_page is not None
    listed = [found.id for found in client.beta.environments.list(limit=2)]
    assert [id for id in listed if id in made] == list(reversed(made))
    assert len(listed) == len(set(listed))


def test_an_archived_environment_takes_no_update_and_no_session(
    client: Anthropic, environment: Any, agent: Any
) -> None:
    archived = known(client.beta.environments.archive(environment.id))
    assert archived.archived_at is not None
    assert client.beta.environments.archive(environment.id) == archived
    refused(lambda: client.beta.environments.update(environment.id, name="x"), BetaEnvironmentArchivedError)
    refused(
        lambda: client.beta.sessions.create(agent=agent.id, environment_id=environment.id), anthropic.BadRequestError
    )
    assert environment.id not in [found.id for found in client.beta.environments.list()]
    assert environment.id in [found.id for found in client.beta.environments.list(include_archived=True)]


def test_an_environment_is_deleted_unless_a_session_uses_it(
    client: Anthropic, environment: Any, session: Any
) -> None:
    refused(lambda: client.beta.environments.delete(environment.id), anthropic.ConflictError)
    client.beta.sessions.delete(session.id)
    deleted = known(client.beta.environments.delete(environment.id))
    assert (deleted.id, deleted.type) == (environment.id, "environment_deleted")
    refused(lambda: client.beta.environments.retrieve(environment.id), anthropic.NotFoundError)


def test_the_type_of_an_environment_never_changes(client: Anthropic, environment: Any) -> None:
    refused(
        lambda: client.beta.environments.update(environment.id, config={"type": "self_hosted"}),
        BetaInvalidConfigTypeChangeError,
    )
