"""The shop of eight items that the tests of the devices have, for checks of the whole."""

from tests.client.conftest import ask, build, copied, gather, held, shop  # noqa: F401 (fixtures)
