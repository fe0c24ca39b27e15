"""Names of what a session makes; clients take 32 characters at most for some of them."""

from uuid import uuid4

HEX_DIGITS = 21


def new_id(kind: str) -> str:
    """A new name, such as `item_…`."""
    return f"{kind}_{uuid4().hex[:HEX_DIGITS]}"
