"""The fixtures of the tests of devices, for tests of the whole."""

from tests.client.conftest import ask, build, copied, gather, held, shop  # noqa: F401 (fixtures)
