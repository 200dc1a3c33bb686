# SPDX-License-Identifier: MIT
"""The kit's own browser, for this folder."""

from tests.browser.conftest import (  # noqa: F401
    axe,
    browser,
    complaints,
    context,
    launch,
    new_context,
    page,
    pytest_itemcollected,
    screenshot,
    server,
    start_server,
    visit,
)
