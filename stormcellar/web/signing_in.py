# SPDX-License-Identifier: MIT
"""What the page and the JSON endpoint for signing in share."""

CHECK_COOKIES = "checkCookies"
"""The name in a query that asks whether the browser has kept the session's cookies."""
