# SPDX-License-Identifier: MIT
"""The JSON endpoints as an OpenAPI 3.1 description, made from the route table.

`python server.py --openapi` prints it, and in debug mode {base}/openapi.json answers with it. Which endpoints
there are, which methods they take and who may call them comes from the routes; OPERATIONS adds what code
cannot tell: what goes in and what comes out. An endpoint of your own gets a row there, or an attribute
`operations` on its class in the same form. tests/handlers/test_openapi.py names every route that has none.

Source: OpenAPI Specification 3.1; SuperTokens' frontend driver interface (FDI).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tornado.routing import URLSpec
from tornado.web import RequestHandler

from stormcellar.api import bodies, credentials, emails, keys, refresh, session_alive
from stormcellar.settings import Settings
from stormcellar.web import live, operations
from stormcellar.web.handler import ProtectedHandler

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
Schema = dict[str, Any]


class Undescribed(Exception):
    """A route that cannot be described; the message names it and says what to add."""


@dataclass(frozen=True)
class Operation:
    """What one method of an endpoint takes and gives.

    Args:
        summary: one sentence.
        answer: the schema of its 200.
        body: the schema of the JSON that it takes; None for no body.
        query: the text parameters of its address, all of them required.
        media_type: of the answer; only for JSON is the schema looked at.
        session: "no", "required", or "optional".
        further: other answers of its own, by status.
    """

    summary: str
    answer: Schema
    body: Schema | None = None
    query: tuple[str, ...] = ()
    media_type: str = "application/json"
    session: str = "no"
    further: dict[int, Schema] = field(default_factory=dict)


# -- schemas ------------------------------------------------------------------------------------------


def one_of(*schemas: Schema) -> Schema:
    return {"oneOf": list(schemas)}


def record(required: dict[str, Any], optional: dict[str, Any] | None = None, **more: Any) -> Schema:
    """An object of exactly these members."""
    members = {**required, **(optional or {})}
    shape = {"type": "object", "properties": members, "required": list(required)}
    return {**shape, "additionalProperties": False, **more}


def status(name: str, **members: Any) -> Schema:
    return record({"status": {"const": name}, **members})


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def form(*names: str, **members: Any) -> Schema:
    """A body with `formFields`, and perhaps more that is required beside them."""
    fields = {
        "type": "array",
        "items": record({"id": {"enum": list(names)}, "value": TEXT}),
        "minItems": len(names),
        "maxItems": len(names),
        "uniqueItems": True,
    }
    # Clients send more than is asked for, such as `shouldTryLinkingWithSessionUser`.
    return record({"formFields": fields, **members}, additionalProperties=True)


TEXT: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer"}
BOOLEAN: Schema = {"type": "boolean"}
ADDRESS: Schema = {"type": "string", "format": "uri"}
NOTHING = record({})
OK = status("OK")


def list_of(schema: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": schema, **more}


SCHEMAS: dict[str, Schema] = {
    "Failure": record({"message": TEXT}, {"requestId": TEXT}),
    "Refusal": record(
        {"message": TEXT},
        {
            "requestId": TEXT,
            "claimValidationErrors": list_of(record({"id": TEXT}, {"reason": {}})),
        },
    ),
    "FieldError": status("FIELD_ERROR", formFields=list_of(record({"id": TEXT, "error": TEXT}), minItems=1)),
    "User": record(
        {
            "id": TEXT,
            "isPrimaryUser": BOOLEAN,
            "tenantIds": list_of(TEXT),
            "timeJoined": INTEGER,
            "emails": list_of(TEXT),
            "phoneNumbers": list_of(TEXT),
            "thirdParty": list_of({"type": "object"}),
            "webauthn": record({"credentialIds": list_of(TEXT)}),
            "loginMethods": list_of({"type": "object"}),
        }
    ),
    "Key": record(dict.fromkeys(("kty", "kid", "n", "e", "alg", "use"), TEXT)),
}
SIGNED_IN = status("OK", user=ref("User"))
READINESS = record(
    {"status": TEXT, "checks": {"type": "object", "additionalProperties": BOOLEAN}},
    {"feed_mode": {"enum": ["listen", "poll"]}},
)


# -- what goes in and what comes out ------------------------------------------------------------------

OPERATIONS: dict[type[RequestHandler], dict[str, Operation]] = {
    credentials.SignUpAPIHandler: {
        "POST": Operation(
            "Make an account and begin a session.",
            one_of(SIGNED_IN, ref("FieldError"), status("SIGN_UP_NOT_ALLOWED", reason=TEXT)),
            body=form("email", "password"),
        )
    },
    credentials.SignInAPIHandler: {
        "POST": Operation(
            "Begin a session.",
            one_of(SIGNED_IN, ref("FieldError"), status("WRONG_CREDENTIALS_ERROR")),
            body=form("email", "password"),
        )
    },
    credentials.SignOutAPIHandler: {"POST": Operation("End this session.", OK)},
    refresh.RefreshHandler: {
        "POST": Operation(
            "New tokens for the refresh token that comes in its cookie, or as a bearer token.",
            NOTHING,
            further={202: ref("Failure"), 401: ref("Failure")},
        )
    },
    credentials.LoginMethodsHandler: {
        "GET": Operation("How people can sign in here.", {"type": "object", "required": ["status"]})
    },
    keys.DiscoveryHandler: {
        "GET": Operation(
            "Where the public keys are (OpenID Connect Discovery 1.0).",
            {"type": "object", "required": ["issuer", "jwks_uri"], "properties": {"jwks_uri": ADDRESS}},
        )
    },
    keys.JWKSHandler: {
        "GET": Operation("The public keys (RFC 7517).", record({"keys": list_of(ref("Key"))}))
    },
    emails.EmailExistsHandler: {
        "GET": Operation("Whether an address has an account.", status("OK", exists=BOOLEAN), query=("email",))
    },
    emails.PasswordResetTokenHandler: {
        "POST": Operation(
            "Mail a link for a new password, if there is an account.",
            one_of(OK, ref("FieldError")),
            body=form("email"),
        )
    },
    emails.PasswordResetHandler: {
        "POST": Operation(
            "A new password for a mailed token.",
            one_of(OK, ref("FieldError"), status("RESET_PASSWORD_INVALID_TOKEN_ERROR")),
            body=form("password", token=TEXT),
        )
    },
    emails.EmailVerificationTokenHandler: {
        "POST": Operation(
            "Mail a link that verifies the address of whoever is signed in.",
            one_of(OK, status("EMAIL_ALREADY_VERIFIED_ERROR")),
            session="required",
        )
    },
    emails.EmailVerificationHandler: {
        "GET": Operation(
            "Whether the address is verified.", status("OK", isVerified=BOOLEAN), session="required"
        ),
        "POST": Operation(
            "Verify the address by a mailed token.",
            one_of(OK, status("EMAIL_VERIFICATION_INVALID_TOKEN_ERROR")),
            body=record({"token": TEXT}, additionalProperties=True),
            session="optional",
        ),
    },
    session_alive.SessionAliveHandler: {
        "GET": Operation(
            "Whether this browser's session is still there; null without one.",
            record({"alive": {"type": ["boolean", "null"]}}),
        )
    },
    operations.HealthHandler: {"GET": Operation("Is it alive?", record({"status": {"const": "alive"}}))},
    operations.ReadyHandler: {
        "GET": Operation("May requests be sent here?", READINESS, further={503: READINESS})
    },
    operations.MetricsHandler: {
        "GET": Operation(
            "Counters in Prometheus' format, for callers on this machine.",
            TEXT,
            media_type="text/plain",
            further={404: ref("Failure")},
        )
    },
}

ANY_TIME = {  # what every endpoint may answer, whatever it is for
    400: "Not understood, or sent to another host's name.",
    403: "Sent by another site, or the session may not do this.",
    405: "The address does not take this method.",
    413: "More than this address takes.",
    429: "Too often; Retry-After says when to come again.",
    503: "Busy or looked after; Retry-After says when to come again.",
}


# -- the description ----------------------------------------------------------------------------------


def speaks_json(handler: Any) -> bool:
    """Whether a handler is an endpoint for programs; sockets and streams have no place in OpenAPI."""
    return bool(getattr(handler, "speaks_json", False)) and not issubclass(handler, live.LiveHandler)


def methods_of(handler: Any) -> list[str]:
    """The methods that a handler implements, besides HEAD and OPTIONS, which follow from them."""
    return [name for name in METHODS if _of(handler, name) is not _of(RequestHandler, name)]


def _of(handler: Any, method: str) -> Any:
    return getattr(handler, method.lower())


def operations_of(handler: Any) -> dict[str, Operation]:
    """What the class itself says, else its row in OPERATIONS.

    Raises:
        Undescribed: neither says anything of one of its methods.
    """
    described: dict[str, Operation] = getattr(handler, "operations", None) or OPERATIONS.get(handler, {})
    missing = [method for method in methods_of(handler) if method not in described]
    if missing:
        raise Undescribed(
            f"{handler.__module__}.{handler.__qualname__} takes {', '.join(missing)}, and nothing says what "
            "goes in and comes out: add a row to OPERATIONS in api/openapi.py, or `operations` to the "
            "class"
        )
    return described


def description(table: Sequence[URLSpec], options: Settings) -> dict[str, Any]:
    """The description of all JSON endpoints of a route table, as JSON values.

    Raises:
        Undescribed: an endpoint has no row, or its address is a pattern that OpenAPI cannot express.
    """
    paths: dict[str, Any] = {}
    for route in table:
        if speaks_json(route.handler_class):
            address, parameters = template(route.regex.pattern)
            paths.setdefault(address, _path_item(address, parameters, route.handler_class))
    prefix = "__Host-" if options.prefixes_cookies else ""
    return {
        "openapi": "3.1.0",
        "info": {"title": options.site_name, "version": "1", "description": HOW_TO_CALL},
        "servers": [{"url": options.origin or f"http://localhost:{options.port}"}],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "cookie": {"type": "apiKey", "in": "cookie", "name": f"{prefix}sAccessToken"},
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
            },
        },
    }


HOW_TO_CALL = (
    "Business answers are 200 with a status; 401 is the session's alone and asks to refresh. Callers that "
    "are no browser send JSON and one of the headers rid, fdi-version or st-auth-mode with unsafe methods."
)


def template(pattern: str) -> tuple[str, list[Schema]]:
    """A route's regular expression as an address of OpenAPI with its parameters, which must have names.

    Raises:
        Undescribed: the pattern has a group without a name.
    """
    pattern = pattern.removesuffix("$").removesuffix("/?") or "/"
    parameters: list[Schema] = []

    def take(group: re.Match[str]) -> str:
        schema = {"type": "string", "pattern": f"^{group[2]}$"}
        parameters.append({"name": group[1], "in": "path", "required": True, "schema": schema})
        return "{" + group[1] + "}"

    address = re.sub(r"\(\?P<(\w+)>([^()]*)\)", take, pattern)
    if "(" in address:
        raise Undescribed(f"the route {pattern} has a group without a name: write it like (?P<number>[0-9]+)")
    return re.sub(r"\\(.)", r"\1", address), parameters


def _path_item(address: str, parameters: list[Schema], handler: Any) -> dict[str, Any]:
    described = operations_of(handler)
    item: dict[str, Any] = {"parameters": parameters} if parameters else {}
    for method in methods_of(handler):
        item[method.lower()] = _operation(address, method, described[method], handler)
    return item


def _operation(address: str, method: str, operation: Operation, handler: Any) -> dict[str, Any]:
    protected = issubclass(handler, ProtectedHandler)
    session = "required" if protected else operation.session
    parameters = [{"name": name, "in": "query", "required": True, "schema": TEXT} for name in operation.query]
    if method not in ("GET", "HEAD"):
        # A browser says where it comes from; whoever is none shows that it could set a header.
        parameters.append({"name": "rid", "in": "header", "required": True, "schema": {"enum": ["any"]}})
    answers = {str(code): _answer(text, ref("Refusal")) for code, text in ANY_TIME.items()}
    if session != "no":
        answers["401"] = _answer("No session, or one to refresh.", ref("Failure"))
    for code, schema in operation.further.items():
        answers[str(code)] = _answer("See the schema.", schema)
    answers["200"] = _answer("Done, or a status that says why not.", operation.answer, operation.media_type)
    found: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{method.lower()}{address}"),
        "summary": operation.summary,
        "parameters": parameters,
        "responses": dict(sorted(answers.items())),
    }
    if operation.body is not None:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": operation.body}}}
    if session != "no":
        anybody: list[Schema] = [] if session == "required" else [{}]
        found["security"] = [*anybody, {"cookie": []}, {"bearer": []}]
    return found


def _answer(text: str, schema: Schema, media_type: str = "application/json") -> Schema:
    return {"description": text, "content": {media_type: {"schema": schema}}}


class OpenAPIHandler(bodies.APIHandler):
    """GET {base}/openapi.json: this description, in debug mode."""

    public = "developers read it, and the route is there for them only"
    operations: ClassVar = {"GET": Operation("This description.", {"type": "object"})}

    def initialize(self, table: Sequence[URLSpec]) -> None:  # type: ignore[override] # from its route
        super().initialize()
        self.table = table

    async def get(self) -> None:
        self.finish(description(self.table, self.app.options))
