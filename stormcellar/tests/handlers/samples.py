# SPDX-License-Identifier: MIT
"""Handlers as an application would add them; the `app` fixture serves them under /sample/."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tornado.web import HTTPError

from stormcellar.sessions import BooleanClaim, ClaimValidator, InvalidClaimsError, Session
from stormcellar.web.handler import BaseHandler, ProtectedAPIHandler, ProtectedHandler


class NoteHandler(ProtectedHandler):
    """A page whose methods tell what arrived."""

    async def get(self) -> None:
        self.finish(f"<p>note of {self.session.user_id}</p>")

    async def post(self) -> None:
        self.tell()

    async def put(self) -> None:
        self.tell()

    async def patch(self) -> None:
        self.tell()

    async def delete(self) -> None:
        self.tell()

    def tell(self) -> None:
        request = self.request
        self.finish(
            {
                "method": request.method,
                "uri": request.uri,
                "fields": {name: self.get_body_arguments(name) for name in request.body_arguments},
                "files": {name: files[0].body.hex() for name, files in request.files.items()},
                "body": request.body.decode("latin1"),
                "user_id": self.session.user_id,
            }
        )


class FilesHandler(NoteHandler):
    """The same at every address below /sample/files/, however unusual."""

    async def get(self, _name: str) -> None:
        await super().get()

    async def post(self, _name: str) -> None:
        self.tell()


class ReportHandler(ProtectedHandler):
    """A file that browsers save."""

    async def get(self) -> None:
        self.set_header("Content-Disposition", 'attachment; filename="report.csv"')
        self.finish("a,b")


class NoteAPIHandler(ProtectedAPIHandler):
    async def get(self) -> None:
        self.finish({"user_id": self.session.user_id})

    async def post(self) -> None:
        self.finish({"user_id": self.session.user_id})


class OptionalAPIHandler(BaseHandler):
    public = "tells whoever asks who they are"
    speaks_json = True

    async def get(self) -> None:
        self.finish({"user_id": self.session.user_id if self.session else None})


class PaidPageHandler(ProtectedHandler):
    """For those who paid; others get the usual page."""

    async def override_global_claim_validators(
        self, validators: Sequence[ClaimValidator], session: Session
    ) -> Sequence[ClaimValidator]:
        return [*validators, PAID.is_true()]

    async def get(self) -> None:
        self.finish("paid")


class ShopHandler(PaidPageHandler):
    """The same, but it leads to where one can pay."""

    def answer_invalid_claims(self, error: InvalidClaimsError) -> None:
        self.see_other("/sample/note", missing=error.payload[0]["id"])


class PaidAPIHandler(ProtectedAPIHandler):
    override_global_claim_validators = PaidPageHandler.override_global_claim_validators

    async def get(self) -> None:
        self.finish({})


class OpenToUnpaidHandler(ProtectedHandler):
    """Takes whoever is signed in, whatever holds elsewhere."""

    async def override_global_claim_validators(self, *_: Any) -> Sequence[ClaimValidator]:
        return []

    async def get(self) -> None:
        self.finish("open")


class PayHandler(ProtectedHandler):
    """Changes the session's claims, so that its client needs new tokens; `?then=` fails afterwards."""

    async def post(self) -> None:
        await self.session.set_claim_value(PAID, True)
        if self.get_query_argument("then", ""):
            raise HTTPError(500)
        self.finish("thank you")


class LeaveHandler(ProtectedHandler):
    """Ends the session; `?then=fail` fails afterwards, `?then=again` begins another one."""

    async def post(self) -> None:
        user_id = self.session.user_id
        await self.session.revoke()
        then = self.get_query_argument("then", "")
        if then == "fail":
            raise HTTPError(500)
        if then == "again":
            await self.begin_session(user_id, method="cookie")
        self.finish("bye")


class FailingHandler(BaseHandler):
    """Fails in the way that `?how=` names."""

    public = "fails alike for everybody"

    async def get(self) -> None:
        how = self.get_query_argument("how")
        if how.isdigit():
            raise HTTPError(int(how))
        raise ZeroDivisionError("a secret of the traceback")


class ExposingHandler(PayHandler):
    """An application that exposes a header of its own to scripts of other origins."""

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Access-Control-Expose-Headers", "X-Total")


PAID: BooleanClaim = BooleanClaim("paid", lambda *_: False)
SAMPLES = [
    (r"/sample/note", NoteHandler),
    (r"/sample/files/(.*)", FilesHandler),
    (r"//sample/double", NoteHandler),
    (r"/sample/report", ReportHandler),
    (r"/sample/api", NoteAPIHandler),
    (r"/sample/optional", OptionalAPIHandler),
    (r"/sample/paid", PaidPageHandler),
    (r"/sample/paid/api", PaidAPIHandler),
    (r"/sample/shop", ShopHandler),
    (r"/sample/unpaid", OpenToUnpaidHandler),
    (r"/sample/pay", PayHandler),
    (r"/sample/leave", LeaveHandler),
    (r"/sample/fail", FailingHandler),
    (r"/sample/exposing", ExposingHandler),
]
