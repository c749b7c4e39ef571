"""A policy that allows everything, for tests that are not about policies."""

from terrycloth.client.policy import Policy

ANYTHING = Policy(most_delta=1.0)
