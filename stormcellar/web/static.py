# SPDX-License-Identifier: MIT
"""Static files, and the answer for addresses that no route knows."""

from __future__ import annotations

import http
import os.path
from typing import Any

from tornado.web import HTTPError, StaticFileHandler

from stormcellar.pages import STATIC
from stormcellar.web.access_log import log_failure
from stormcellar.web.file_versions import FileVersions, is_same_version
from stormcellar.web.handler import SMALL_BODY_BYTES, BaseHandler


class NotFoundHandler(BaseHandler):
    """Whatever no route knows."""

    public = "says that there is nothing here"
    max_body_bytes = SMALL_BODY_BYTES

    def may_renew(self) -> bool:
        return False

    async def prepare(self) -> None:
        await super().prepare()
        raise HTTPError(404)


class StaticHandler(StaticFileHandler):
    """GET /static/...: style and scripts. Addresses with a version never change."""

    public = "style and scripts are the same for everybody"
    versions = FileVersions(StaticFileHandler.get_content_version)

    def set_default_headers(self) -> None:
        self._headers = self.application.standing_headers.fresh()  # type: ignore[attr-defined]

    def parse_url_path(self, url_path: str) -> str:
        if "\0" in url_path:
            raise HTTPError(404)  # the operating system would refuse it as an error of ours
        return super().parse_url_path(url_path)

    def set_headers(self) -> None:
        """As Tornado's; the whole file is sent if it is not the version that a part is asked of."""
        super().set_headers()
        sent, own = self.request.headers, self._headers
        if_range = sent.get("If-Range")
        if if_range is None or "Range" not in sent:
            return
        if not is_same_version(if_range, own.get("Etag"), own.get("Last-Modified")):
            del sent["Range"]

    def compute_etag(self) -> str | None:
        """The tag of the content as it is now; Tornado keeps that of the first request."""
        assert self.absolute_path is not None  # noqa: S101 - set before headers are
        return self.versions.etag(self.absolute_path)

    def get_content_type(self) -> str:
        kind = super().get_content_type()
        return f"{kind}; charset=UTF-8" if kind.startswith("text/") else kind

    def set_extra_headers(self, path: str) -> None:
        self.clear_header("Vary")
        if "Expires" not in self._headers:  # an address without a version: ask each time whether it is new
            self.set_header("Cache-Control", "no-cache")

    def write_error(self, status_code: int, **_: Any) -> None:
        self.set_header("Content-Type", "text/plain; charset=UTF-8")
        self.finish(f"{status_code} {http.HTTPStatus(status_code).phrase}\n")

    def log_exception(self, typ: Any, value: BaseException | None, tb: Any) -> None:
        log_failure(self, value)


class SiteStaticHandler(StaticHandler):
    """GET /static/...: the file of the site, or the kit's if the site has no file of that name."""

    @classmethod
    def get_absolute_path(cls, root: str, path: str) -> str:
        own = super().get_absolute_path(root, path)
        return own if os.path.exists(own) else super().get_absolute_path(str(STATIC), path)

    def validate_absolute_path(self, root: str, absolute_path: str) -> str | None:
        is_kits = absolute_path.startswith(str(STATIC) + os.path.sep)
        return super().validate_absolute_path(str(STATIC) if is_kits else root, absolute_path)
