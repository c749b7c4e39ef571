"""What the devices of tests allow, where a test is not about what they allow."""

from terrycloth.client.policy import Policy

ANYTHING = Policy(most_delta=1.0)
