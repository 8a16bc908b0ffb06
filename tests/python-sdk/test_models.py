"""Models through the official client."""

from __future__ import annotations

import anthropic
from anthropic import Anthropic

from conftest import MODEL, known, refused


def test_the_models_of_the_configuration_are_listed(client: Anthropic) -> None:
    models = [known(model) for model in client.beta.models.list()]
    assert {MODEL, "other"} <= {model.id for model in models}
    assert all(model.type == "model" and model.lifecycle == "active" for model in models)


def test_models_are_listed_over_pages(client: Anthropic) -> None:
    whole = [model.id for model in client.beta.models.list(limit=1000)]
    page = known(client.beta.models.list(limit=1))
    assert page.has_more is True and page.first_id == page.last_id == whole[0]
    assert [model.id for model in client.beta.models.list(limit=1)] == whole
    before = client.beta.models.list(limit=1, before_id=whole[1])
    assert [model.id for model in before.data] == whole[:1]


def test_retired_models_are_none(client: Anthropic) -> None:
    assert client.beta.models.list(lifecycle=["retired"]).data == []


def test_a_model_is_read_alone(client: Anthropic) -> None:
    model = known(client.beta.models.retrieve(MODEL))
    assert (model.id, model.type) == (MODEL, "model")
    refused(lambda: client.beta.models.retrieve("nobody-serves-this"), anthropic.NotFoundError)


def test_the_models_route_without_beta_answers_the_same(client: Anthropic) -> None:
    assert [model.id for model in client.models.list()] == [model.id for model in client.beta.models.list()]
