"""What a function remembers from one call to the next."""

from typing import TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Memory(dict[Key, Value]):
    """A dictionary that begins anew when it is full, so that a function that lives for long does not grow."""

    most = 1000

    def __setitem__(self, key: Key, value: Value) -> None:
        if len(self) >= self.most:
            self.clear()
        super().__setitem__(key, value)
