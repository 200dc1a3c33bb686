# SPDX-License-Identifier: MIT
"""Fixtures for tests of your pages, as a pytest plugin: `pytest_plugins = ["stormcellar.testing.plugin"]`."""
