# SPDX-License-Identifier: MIT
"""FormHandler: the form comes back with what is wrong, by the status of the error."""

from __future__ import annotations

from typing import Any

import pytest
from tornado.template import DictLoader

from stormcellar.accounts import FieldErrors, InvalidTokenError, ThrottledError, WrongCredentialsError
from stormcellar.testing.client import Client
from stormcellar.web.form_page import FormHandler

ERRORS: dict[str, Exception] = {
    "field": FieldErrors({"text": "Too short"}),
    "link": InvalidTokenError(),
    "password": WrongCredentialsError(),
    "often": ThrottledError("notes", "Too many notes.", 90),
}
TEMPLATE = "{% for field, words in sorted(errors.items()) %}[{{ field }}: {{ words }}]{% end %}{{ text }}"


class NoteHandler(FormHandler):
    """GET and POST /note"""

    public = "a page of the tests"
    template = "note.html"

    def create_template_loader(self, template_path: str) -> DictLoader:
        return DictLoader({"note.html": TEMPLATE})

    def get_template_path(self) -> str:
        return "forms of the tests"

    async def variables(self) -> dict[str, Any]:
        return {"text": self.get_argument("text", "")}

    async def open(self) -> None:
        await self._work()
        await self.show_form()

    async def submit(self) -> None:
        await self._work()
        self.see_other("/")

    async def _work(self) -> None:
        if error := ERRORS.get(self.get_argument("error", "")):
            raise error


@pytest.fixture
def more_routes() -> list[object]:
    return [("/note", NoteHandler)]


@pytest.mark.parametrize("method", ["get", "post"])
@pytest.mark.parametrize(
    ("error", "status", "shown"),
    [
        ("field", 422, b"[text: Too short]"),
        ("link", 422, b"[: This link has been used already, or it is too old.]"),
        ("password", 422, b"[: Incorrect email and password combination.]"),
        ("often", 429, b"[: Too many notes. Please try again in 90 seconds.]"),
    ],
)
@pytest.mark.gen_test
async def test_an_error_of_the_accounts_shows_the_form_again(
    client: Client, method: str, error: str, status: int, shown: bytes
) -> None:
    if method == "get":
        answer = await client.get(f"/note?error={error}&text=kept")
    else:
        answer = await client.post("/note", {"error": error, "text": "kept"})
    assert (answer.code, answer.body) == (status, shown + b"kept")
    assert answer.headers.get("Retry-After") == ("90" if error == "often" else None)


@pytest.mark.gen_test
async def test_a_form_without_errors_is_shown_and_taken(client: Client) -> None:
    assert (await client.get("/note?text=new")).body == b"new"
    taken = await client.post("/note", {"text": "new"})
    assert (taken.code, taken.headers["Location"]) == (303, "/")


@pytest.mark.gen_test
async def test_a_form_takes_64_kb_at_most(client: Client) -> None:
    assert (await client.post("/note", {"text": "x" * 70_000})).code == 413
