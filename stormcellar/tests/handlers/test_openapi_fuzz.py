# SPDX-License-Identifier: MIT
"""A running server keeps to its own description, whatever is sent: no 5xx, every answer of a described form.

schemathesis makes the requests from the description: some that fit it, some that break it on purpose.
FUZZ_CASES in the environment is how many of each kind every operation gets (10 if it is not set).

Source: OWASP ASVS 5.0, 2.2 and 16.5; OpenAPI 3.1.
"""

from __future__ import annotations

import collections
import contextlib
import copy
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from stormcellar.testing.client import PASSWORD
from stormcellar.tests.serving import SITE_DIR, ServerProcess, process_env

pytestmark = pytest.mark.fuzz
CASES = int(os.environ.get("FUZZ_CASES", "10"))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
SECONDS_TO_ANSWER = 60  # whoever has not answered by then hangs
CLIENT = {"rid": "any", "st-auth-mode": "header"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server on which nobody is slowed down for asking too often."""
    with ServerProcess(tmp_path_factory.mktemp("data"), "--no-rate_limits") as running:
        yield running


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    command = [sys.executable, "server.py", "--openapi"]
    printed = subprocess.run(command, cwd=SITE_DIR, env=process_env(), capture_output=True, check=True).stdout
    found: dict[str, Any] = json.loads(printed)
    return found


def signed_in(server: ServerProcess, email: str) -> dict[str, str]:
    """The headers of somebody who has just signed up."""
    fields = [{"id": "email", "value": email}, {"id": "password", "value": PASSWORD}]
    answer = requests.post(
        f"{server.url}/auth/signup", json={"formFields": fields}, headers=CLIENT, timeout=SECONDS_TO_ANSWER
    )
    return {"Authorization": f"Bearer {answer.headers['st-access-token']}"}


def operations(document: dict[str, Any]) -> list[Any]:
    return [found.ok() for found in schemathesis.openapi.from_dict(document).get_all_operations()]


def send(operation: Any, server: ServerProcess, headers: Mapping[str, str]) -> collections.Counter[int]:
    """Send an operation what fits it and what does not; how often each status came back."""
    answers: collections.Counter[int] = collections.Counter()
    for mode in GenerationMode:

        @settings(max_examples=CASES, database=None, suppress_health_check=list(HealthCheck))
        @given(operation.as_strategy(generation_mode=mode))
        def send_one(case: Any) -> None:
            case.headers = {**(case.headers or {}), **headers}
            response = case.call(base_url=server.url, timeout=SECONDS_TO_ANSWER, allow_redirects=False)
            answers[response.status_code] += 1
            case.validate_response(response, checks=CHECKS)

        with contextlib.suppress(Unsatisfiable):  # nothing goes in, so nothing wrong can
            send_one()
    return answers


def test_whatever_a_stranger_sends_the_server_answers_as_described(
    server: ServerProcess, document: dict[str, Any]
) -> None:
    for operation in operations(document):
        answers = send(operation, server, {})
        assert answers, operation.label


def test_whatever_somebody_signed_in_sends_it_does_too(
    server: ServerProcess, document: dict[str, Any]
) -> None:
    seen: collections.Counter[int] = collections.Counter()
    for number, operation in enumerate(operations(document)):
        if operation.definition.raw.get("security"):
            who = signed_in(server, f"sailor{number}@example.com")
            seen += send(operation, server, who)
    assert seen[200] > 0, "somebody was let in"


def test_an_answer_of_another_form_is_noticed(server: ServerProcess, document: dict[str, Any]) -> None:
    """The control: without it the tests above might look at nothing."""
    wrong = copy.deepcopy(document)
    schema = wrong["paths"]["/healthz"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    schema["properties"]["status"]["const"] = "something else"
    (operation,) = (found for found in operations(wrong) if found.path == "/healthz")
    with pytest.raises(FailureGroup):
        send(operation, server, {})
