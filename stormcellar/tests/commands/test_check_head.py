# SPDX-License-Identifier: MIT
"""check measures the head of the sign-in answer with the site's settings."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from stormcellar.commands.check_head import NGINX_BYTES, judge, sign_in_head
from stormcellar.settings import Settings
from stormcellar.tests.site import SITE

TOKEN = b"Set-Cookie: sAccessToken="


def test_a_small_head_is_a_note() -> None:
    finding = judge(b"x" * NGINX_BYTES)
    assert (finding.level, finding.advice) == ("note", "")


def test_a_large_head_is_a_warning_that_names_the_largest_lines() -> None:
    finding = judge(b"HTTP/1.1 303 See Other\r\n" + TOKEN + b"x" * NGINX_BYTES + b"\r\nDate: now\r\n\r\n")
    assert finding.level == "warning"
    assert "Set-Cookie: sAccessToken=" in finding.what
    assert "proxy_buffer_size 16k" in finding.advice


@pytest.mark.slow
def test_the_head_is_that_of_a_real_sign_in(tmp_path: Path) -> None:
    """The real site is left alone: its folder is not even made."""
    folder = tmp_path / "data"
    plain = asyncio.run(sign_in_head(Settings(data_dir=folder), SITE))
    longer = asyncio.run(
        sign_in_head(Settings(data_dir=folder, public_url="https://" + "x" * 60 + ".example"), SITE)
    )
    assert plain.startswith(b"HTTP/1.1 303")
    assert TOKEN in plain
    assert len(plain) + 60 < len(longer) < NGINX_BYTES
    assert not folder.exists()
