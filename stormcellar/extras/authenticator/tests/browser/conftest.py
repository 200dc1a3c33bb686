# SPDX-License-Identifier: MIT
"""The kit's own browser, for this folder."""

from stormcellar.tests.browser.conftest import *  # noqa: F403
