"""Promises of privacy, the trust they rest on, their accounting, and the randomness that keeps them."""
