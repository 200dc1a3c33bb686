# SPDX-License-Identifier: MIT
"""The fixtures of the kit's own tests, for those of the extras."""

from tests.conftest import place  # noqa: F401
from tests.handlers.conftest import (  # noqa: F401
    app,
    client,
    clock,
    make_application,
    new_client,
    pytest_configure,
    settings,
)
from tests.postgres import _cluster, cluster, postgres_url  # noqa: F401
