"""How a dataclass crosses processes: versions of a rolling update read each other.

While replicas are replaced one by one, old ones and new ones exchange messages. What one version
pickles, the other reads: it ignores fields that it does not know, and fields that it misses have
their defaults. So a new field of a message needs a default that means "as before".
"""

from collections.abc import Callable
from dataclasses import fields
from typing import Any, ClassVar


class Wire:
    """Base of the dataclasses that cross processes; pickles them by the names of their fields."""

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, Any]]

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        defaults = {field.name: field.default for field in fields(self)}
        sent = {name: value for name, value in values.items() if value is not defaults[name]}
        return read, (type(self), sent)


def read(cls: type[Any], sent: dict[str, Any]) -> Any:
    """A message of `cls` from the fields that were sent. Both versions must have this function."""
    return cls(**{name: value for name, value in sent.items() if name in cls.__dataclass_fields__})
