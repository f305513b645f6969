"""What a function remembers from one call to the next."""

from typing import TypeVar

MOST = 1000  # things, so that a function that lives for long does not grow

Key = TypeVar("Key")
Value = TypeVar("Value")


class Memory(dict[Key, Value]):
    """A dictionary that begins anew when it is full."""

    def __setitem__(self, key: Key, value: Value) -> None:
        if len(self) >= MOST:
            self.clear()
        super().__setitem__(key, value)
