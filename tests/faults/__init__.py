"""Faults on whole stacks: what breaks on purpose, and what must still hold."""

import pytest

pytest.register_assert_rewrite("tests.faults.world", "tests.faults.client")
