"""Instants: seconds since 1970, as every part of the project keeps them, and as people read them."""

from datetime import UTC, datetime

DAY = 86_400  # seconds


def moment(seconds: float) -> datetime:
    """Return an instant as a UTC time without fractions of a second."""
    return datetime.fromtimestamp(int(seconds), UTC)
