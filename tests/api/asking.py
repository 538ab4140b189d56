"""A client of API 1.51 for tests of what dockerd 28 answers, field by field and word by word."""

from __future__ import annotations

from typing import Any

import docker as docker_py
import pytest
from docker.errors import APIError


def post(client: docker_py.APIClient, path: str, body: Any = None) -> Any:
    """The answer's JSON. Raises APIError."""
    return client._result(client._post_json(client._url(path), body), json=True)


def create(client: docker_py.APIClient, name: str, *command: str, **fields: Any) -> str:
    made = post(client, f"/containers/create?name={name}", {"Image": "busybox", "Cmd": list(command) or None, **fields})
    return str(made["Id"])


def refusal(client: docker_py.APIClient, path: str, body: Any = None) -> tuple[int, str]:
    with pytest.raises(APIError) as refused:
        post(client, path, body)
    return refused.value.status_code, str(refused.value.explanation).strip()
