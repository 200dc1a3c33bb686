# SPDX-License-Identifier: MIT
"""What the JSON endpoints share: bodies, their limits, and the form of errors."""

from __future__ import annotations

import json
from typing import Any, ClassVar, cast

from tornado.web import HTTPError

from stormcellar.accounts import FIELD_MISSING, FieldErrors, ThrottledError, User
from stormcellar.sessions import Session
from stormcellar.web.handler import BaseHandler

MAX_JSON_BYTES = 64 * 1024


class APIHandler(BaseHandler):
    """A JSON endpoint for everybody. It looks at a session only where it says so."""

    speaks_json = True
    max_body_bytes: ClassVar[int | None] = MAX_JSON_BYTES  # parsing more would keep everybody else waiting

    async def get_session(self) -> Session | None:
        return None

    def json_body(self) -> dict[str, Any]:
        """The request's JSON object.

        Raises:
            BadRequest: it is none.
        """
        try:
            body = json.loads(self.request.body or b"{}")
        except (ValueError, RecursionError):
            raise BadRequest("The body must be JSON") from None
        if not isinstance(body, dict):
            raise BadRequest("The body must be a JSON object")
        return cast(dict[str, Any], body)

    def answer_throttled(self, error: ThrottledError) -> None:
        """The body is what clients show that look at it whatever the status."""
        self.set_status(429)
        self.set_header("Retry-After", str(error.retry_after_s))
        self.finish({"status": "GENERAL_ERROR", "message": str(error)})

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs["exc_info"][1] if "exc_info" in kwargs else None
        if isinstance(error, BadRequest):
            self.set_status(400)
            self.finish({"message": error.log_message})
        else:
            super().write_error(status_code, **kwargs)


class BadRequest(HTTPError):
    """400 with a sentence for the developer of a client."""

    def __init__(self, message: str) -> None:
        super().__init__(400, message)


def form_fields(body: dict[str, Any], names: tuple[str, ...]) -> dict[str, str]:
    """The `formFields` of a body, by id.

    Raises:
        BadRequest: they do not have the form that clients send.
    """
    if "formFields" not in body:
        raise BadRequest("Missing input param: formFields")
    items = body["formFields"]
    if not isinstance(items, list):
        raise BadRequest("formFields must be an array")
    fields: dict[str, str] = {}
    for item in items:
        if not isinstance(item, dict):
            raise BadRequest("All elements of formFields must be an object")
        if not isinstance(item.get("id"), str) or "value" not in item:
            raise BadRequest("All elements of formFields must contain an 'id' and 'value' field")
        if item["id"] not in names:
            raise BadRequest("Are you sending too many formFields?")
        if not isinstance(item["value"], str):
            raise BadRequest(f"{item['id']} value must be a string")
        fields[item["id"]] = item["value"]
    if len(items) > len(names):
        raise BadRequest("Are you sending too many formFields?")
    return fields


def required_fields(body: dict[str, Any], names: tuple[str, ...]) -> dict[str, str]:
    """The `formFields` of a body, none of which may be missing.

    Raises:
        BadRequest: as `form_fields`.
        FieldErrors: some are missing, or empty.
    """
    fields = form_fields(body, names)
    missing = {name: FIELD_MISSING for name in names if not fields.get(name)}
    if missing:
        raise FieldErrors(missing)
    return fields


def field_error(error: FieldErrors) -> dict[str, Any]:
    fields = [{"id": name, "error": message} for name, message in error.errors.items()]
    return {"status": "FIELD_ERROR", "formFields": fields}


def user_as_json(user: User) -> dict[str, Any]:
    """The user object of FDI 3.0 and later; times are Unix milliseconds."""
    shared = {"tenantIds": ["public"], "timeJoined": user.created_at_ms}
    return {
        "id": user.user_id,
        "isPrimaryUser": False,
        **shared,
        "emails": [user.email],
        "phoneNumbers": [],
        "thirdParty": [],
        "webauthn": {"credentialIds": []},
        "loginMethods": [
            {
                "recipeId": "emailpassword",
                "recipeUserId": user.user_id,
                **shared,
                "email": user.email,
                "verified": user.email_verified,
            }
        ],
    }
