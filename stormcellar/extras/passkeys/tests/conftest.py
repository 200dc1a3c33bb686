# SPDX-License-Identifier: MIT
"""The fixtures of the kit's tests of handlers, and its databases."""

from stormcellar.tests.conftest import place  # noqa: F401
from stormcellar.tests.handlers.conftest import *  # noqa: F403
from stormcellar.tests.postgres import _cluster, cluster, postgres_url  # noqa: F401
