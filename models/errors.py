"""The one error whose text is meant for the person at the terminal."""


class UserError(Exception):
    """An error that the user can fix. Its text is one line: what is wrong, and what to do.

    The command line prints it and exits with code 2. It must never hold a private value: it may name columns,
    line numbers and catalogue items, but never a shopper or what a shopper did.
    """
