# SPDX-License-Identifier: MIT
"""A page with a form. GET shows it. POST does what it asks for, or shows the form again with what is wrong.

class NoteHandler(FormHandler, ProtectedHandler):
    template = "note.html"

    async def submit(self) -> None:
        await save(self.get_body_argument("text"))
        self.see_other("/notes")
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar

from stormcellar.accounts import FieldErrors, InvalidTokenError, ThrottledError, WrongCredentialsError
from stormcellar.web.handler import SMALL_BODY_BYTES, BaseHandler


class FormHandler(BaseHandler):
    """A page with a form. The template gets `errors`: sentences by the name of the field, "" for the form."""

    template: str
    max_body_bytes: ClassVar[int | None] = SMALL_BODY_BYTES

    async def submit(self) -> None:
        """Do what the form asks for, and answer. An error of the accounts shows the form again."""
        raise NotImplementedError

    async def variables(self) -> dict[str, Any]:
        """What the template gets besides the errors."""
        return {}

    async def open(self) -> None:
        """Answer GET. An error of the accounts shows the form with it."""
        await self.show_form()

    async def get(self) -> None:
        await self._show_errors_of(self.open)

    async def post(self) -> None:
        await self._show_errors_of(self.submit)

    async def _show_errors_of(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except ThrottledError as error:
            self.set_header("Retry-After", str(error.retry_after_s))
            await self.show_form({"": str(error)}, status=429)
        except FieldErrors as error:
            await self.show_form(error.errors, status=422)
        except (InvalidTokenError, WrongCredentialsError) as error:
            await self.show_form({"": f"{error}."}, status=422)

    async def show_form(self, errors: Mapping[str, str] | None = None, *, status: int = 200) -> None:
        """Show the form, with these errors."""
        self.set_status(status)
        self.render(self.template, errors=errors or {}, **await self.variables())
