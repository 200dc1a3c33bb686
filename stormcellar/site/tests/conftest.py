# SPDX-License-Identifier: MIT
pytest_plugins = ["stormcellar.testing.plugin"]
