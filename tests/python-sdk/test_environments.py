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


def test_limited_networking_and_packages_are_answered_whole(client: Anthropic) -> None:
    networking = {
        "type": "limited",
        "allow_mcp_servers": True,
        "allow_package_managers": True,
        "allowed_hosts": ["example.com", "*.example.org"],
    }
    made = known(
        client.beta.environments.create(
            name=unique("limited"),
            config={"type": "cloud", "networking": networking, "packages": {"type": "packages"}},
        )
    )
    assert made.config.type == "cloud"
    assert made.config.networking.to_dict() == networking
    assert client.beta.environments.retrieve(made.id) == made
    updated = known(
        client.beta.environments.update(
            made.id, config={"type": "cloud", "networking": {"type": "limited", "allowed_hosts": []}}
        )
    )
    assert updated.config.networking.to_dict() == {**networking, "allowed_hosts": []}
    opened = known(
        client.beta.environments.update(made.id, config={"type": "cloud", "networking": {"type": "unrestricted"}})
    )
    assert opened.config.networking.type == "unrestricted"


def test_limited_networking_allows_nothing_by_default(client: Anthropic) -> None:
    made = known(
        client.beta.environments.create(
            name=unique("shut"), config={"type": "cloud", "networking": {"type": "limited"}}
        )
    )
    networking = made.config.networking
    assert (networking.allowed_hosts, networking.allow_mcp_servers, networking.allow_package_managers) == (
        [],
        False,
        False,
    )


def test_packages_are_kept_manager_by_manager(client: Anthropic) -> None:
    # Over the files of the host nothing is asked for from anywhere: the build ends at once and says so.
    packages = {"type": "packages", "apt": ["a=1.0", "b"]}
    others: dict[str, Any] = {"cargo": [], "gem": [], "go": [], "npm": [], "pip": []}
    config: Any = {"type": "cloud", "packages": packages}
    made = known(client.beta.environments.create(name=unique("packages"), config=config))
    assert made.config.packages.to_dict() == {**packages, **others}
    kept: Any = {"type": "cloud", "packages": {"type": "packages", "npm": []}}
    assert client.beta.environments.update(made.id, config=kept) == made
    emptied: Any = {"type": "cloud", "packages": {"type": "packages", "apt": []}}
    assert known(client.beta.environments.update(made.id, config=emptied)).config.packages.apt == []


def test_what_limited_networking_cannot_keep_is_refused(client: Anthropic) -> None:
    limited = {"type": "limited", "allowed_hosts": ["example.com"]}
    packages = {"type": "packages", "pip": ["a"]}
    error = refused(
        lambda: client.beta.environments.create(
            name=unique("refused"), config={"type": "cloud", "networking": limited, "packages": packages}
        ),
        anthropic.BadRequestError,
    )
    assert "allow_package_managers" in str(error)
    made = client.beta.environments.create(name=unique("shut"), config={"type": "cloud", "networking": limited})
    refused(
        lambda: client.beta.environments.update(made.id, config={"type": "cloud", "packages": packages}),
        anthropic.BadRequestError,
    )
    for host in ["https://example.com", "example.com:443", "example.com/a", "127.0.0.1", "a.*.com"]:
        refused(
            lambda: client.beta.environments.create(
                name=unique("refused"),
                config={"type": "cloud", "networking": {"type": "limited", "allowed_hosts": [host]}},
            ),
            anthropic.BadRequestError,
        )


def test_settings_of_sandboxes_are_kept_beside_the_official_fields(client: Anthropic, environment: Any) -> None:
    path = f"/x/v1/environments/{environment.id}/sandbox"
    changed = client.post(path, body={"variables": {"MODE": "test"}}, cast_to=object)
    assert changed == {
        "type": "environment_sandbox",
        "environment_id": environment.id,
        "image": None,
        "setup": None,
        "variables": {"MODE": "test"},
        "resources": None,
    }
    client.beta.environments.update(environment.id, name=unique("renamed"))
    assert client.get(path, cast_to=object) == changed
    known(client.beta.environments.retrieve(environment.id))
