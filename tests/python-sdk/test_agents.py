"""Agents through the official client."""

from __future__ import annotations

from typing import Any

import anthropic
from anthropic import Anthropic

from conftest import MODEL, TOOLS, known, refused, unique


def test_an_agent_is_created_with_everything(client: Anthropic) -> None:
    agent = known(
        client.beta.agents.create(
            name="coder",
            model={"id": MODEL, "effort": "low", "speed": "standard", "inference_geo": "us"},
            description="writes code",
            system="Be brief.",
            tools=[
                {
                    "type": "agent_toolset_20260401",
                    "default_config": {"enabled": True, "permission_policy": {"type": "always_allow"}},
                    "configs": [{"name": "grep", "enabled": False}, {"name": "bash", "type": "bash"}],
                }
            ],
            metadata={"team": "a"},
            mcp_servers=[],
            skills=[],
            multiagent=None,
            execution_identity={"type": "service_account"},
        )
    )
    assert agent.id.startswith("agent_")
    assert (agent.version, agent.archived_at, agent.multiagent) == (1, None, None)
    assert agent.model.id == MODEL
    assert agent.model.effort is not None and agent.model.effort.type == "low"
    assert (agent.model.speed, agent.model.inference_geo) == ("standard", "us")
    assert agent.execution_identity.type == "service_account"
    toolset = agent.tools[0]
    assert toolset.type == "agent_toolset_20260401"
    assert [(config.name, config.enabled) for config in toolset.configs] == [("grep", False), ("bash", True)]
    assert toolset.default_config.permission_policy.type == "always_allow"


def test_an_agent_is_created_with_the_least(client: Anthropic) -> None:
    agent = known(client.beta.agents.create(name="plain", model=MODEL))
    assert (agent.description, agent.system, agent.tools, agent.metadata) == (None, None, [], {})
    assert agent.model.effort is not None and agent.model.effort.type == "high"


def test_an_agent_is_read_back_as_it_was_answered(client: Anthropic, agent: Any) -> None:
    assert known(client.beta.agents.retrieve(agent.id)) == agent
    assert client.beta.agents.retrieve(agent.id, version=1) == agent


def test_an_update_makes_a_version_and_the_old_one_stays(client: Anthropic, agent: Any) -> None:
    updated = known(client.beta.agents.update(agent.id, version=1, name="renamed", metadata={"a": "b"}))
    assert (updated.version, updated.name, updated.metadata) == (2, "renamed", {"a": "b"})
    assert updated.updated_at > agent.updated_at
    assert client.beta.agents.retrieve(agent.id) == updated
    assert client.beta.agents.retrieve(agent.id, version=1) == agent


def test_an_update_that_changes_nothing_makes_no_version(client: Anthropic, agent: Any) -> None:
    assert client.beta.agents.update(agent.id, name=agent.name, tools=TOOLS) == agent


def test_an_outdated_version_is_a_conflict(client: Anthropic, agent: Any) -> None:
    client.beta.agents.update(agent.id, system="new")
    error = refused(lambda: client.beta.agents.update(agent.id, version=1, name="late"), anthropic.ConflictError)
    assert error.type == "conflict_error"


def test_versions_are_listed_newest_first_over_pages(client: Anthropic, agent: Any) -> None:
    for number in range(2, 7):
        client.beta.agents.update(agent.id, system=f"version {number}")
    first = known(client.beta.agents.versions.list(agent.id, limit=2))
    assert len(first.data) == 2 and first.next_page is not None
    listed = list(client.beta.agents.versions.list(agent.id, limit=2))
    assert [version.version for version in listed] == [6, 5, 4, 3, 2, 1]
    assert known(listed[-1]) == agent


def test_agents_are_listed_over_pages(client: Anthropic) -> None:
    made = [client.beta.agents.create(name=unique("page"), model=MODEL) for _ in range(5)]
    window = {"created_at_gte": made[0].created_at, "created_at_lte": made[-1].created_at}
    listed = list(client.beta.agents.list(limit=2, **window))
    assert [found.id for found in listed] == [agent.id for agent in reversed(made)]
    assert known(listed[-1]) == made[0]


def test_an_archived_agent_is_listed_only_when_asked_for(client: Anthropic, agent: Any) -> None:
    archived = known(client.beta.agents.archive(agent.id))
    assert archived.archived_at is not None and archived.version == agent.version
    assert client.beta.agents.archive(agent.id) == archived

    def ids(**options: Any) -> list[str]:
        window = {"created_at_gte": agent.created_at, "created_at_lte": agent.created_at}
        return [found.id for found in client.beta.agents.list(**window, **options)]

    assert agent.id not in ids()
    assert agent.id in ids(include_archived=True)
    error = refused(lambda: client.beta.agents.update(agent.id, name="x"), anthropic.BadRequestError)
    assert "archived" in error.message
