# SPDX-License-Identifier: MIT
"""Removing what belonged to users who are gone."""

DELETE_ROWS_WITHOUT_USER = (
    "DELETE FROM {0} WHERE NOT EXISTS (SELECT 1 FROM users WHERE users.user_id = {0}.user_id)"
)
"""For a table with a column `user_id`. An anti-join: `NOT IN` takes time in the square of the users."""
