"""The one error whose text is meant for the person at the terminal."""


class UserError(Exception):
    """Something the user can mend. The text is one line: what is wrong, and what to do.

    The command line prints it and exits with code 2. It must never hold a private value: name columns,
    line numbers and catalogue items, never a shopper or what a shopper did.
    """
