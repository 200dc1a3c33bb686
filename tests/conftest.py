# SPDX-License-Identifier: MIT
"""What holds for every test."""

import os

from hypothesis import HealthCheck, settings

# A slow or busy machine is no finding, so neither profile looks at the clock. In CI the examples are the same
# at every run: whoever gets a red result can have it again.
settings.register_profile("quick", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("quick"), derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "quick")
