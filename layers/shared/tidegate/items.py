"""How a chunk of lines lies in DynamoDB: as one item, or in pieces if it is a line that fits into none.

The pieces after the first have its key with a number behind it, and are written before it. So they follow on it in the
table, and where the first one is, all are, until they expire.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tidegate import blocks

LARGEST = 380 * 1024  # bytes of a block in one item, which may have 400 KB
_WRITE_UNIT = 1024  # bytes of an item

Item = dict[str, Any]


def make(task_id: str, key: str, last: str, block: bytes, about: Mapping[str, Any]) -> list[Item]:
    """The items of a block, in the order in which they are to be written; `last` is its last line's id."""
    base = {"taskId": task_id, **about}
    pieces = [block[start : start + LARGEST] for start in range(0, len(block), LARGEST)]
    first = {**base, "firstEventId": key, "lines": pieces[0]}
    if not blocks.is_condensed(block):
        first["lastEventId"] = last  # a condensed one knows it
    if len(pieces) > 1:
        first["pieces"] = len(pieces)
    return [
        *({**base, "firstEventId": f"{key}.{number}", "lines": pieces[number]} for number in range(1, len(pieces))),
        first,
    ]


def units(made: Iterable[Item]) -> int:
    """The write units of new items, and at a border one more."""
    sizes = (
        sum(len(name) + (len(value) if isinstance(value, str | bytes) else 8) for name, value in item.items())
        for item in made
    )
    return sum(-(-size // _WRITE_UNIT) for size in sizes)


def join(found: Iterable[Item]) -> Iterator[Item]:
    """Chunks as DynamoDB gives their items, in order, each with its whole block; one that is not whole is left out."""
    first: Item | None = None
    pieces: list[bytes] = []
    for item in found:
        if first and item["firstEventId"]["S"] == f"{first['firstEventId']['S']}.{len(pieces)}":
            pieces.append(item["lines"]["B"])
            if len(pieces) == int(first["pieces"]["N"]):
                yield {**first, "lines": {"B": b"".join(pieces)}}
        elif "pieces" in item:
            first, pieces = item, [item["lines"]["B"]]
        elif item["firstEventId"]["S"].count(".") == 1:
            yield item
