"""DynamoDB's condition and update expressions, as far as the code under test uses them; anything else raises."""

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, NamedTuple

Item = Mapping[str, Any]
Values = Mapping[str, Any]
Condition = Callable[[Item, Values], bool]
Update = Callable[[Item, Values], dict[str, Any]]
Operand = Callable[[Item, Values], Any]

_TOKENS = re.compile(r"\s*(?:([:#]?[A-Za-z_][A-Za-z0-9_]*)|(<=|>=|<>|[=<>(),+-]))")
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "<>": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


class Expression(NamedTuple):
    """What an expression does, and the placeholders it uses."""

    apply: Callable[..., Any]
    names: frozenset[str]
    values: frozenset[str]


@cache
def condition(text: str, names: tuple[tuple[str, str], ...] = ()) -> Expression:
    """Compile a condition to a function of the item (empty if there is none) and the values."""
    parser = _Parser(text, dict(names))
    apply = parser.either()
    return parser.done(apply)


@cache
def update(text: str, names: tuple[tuple[str, str], ...] = ()) -> Expression:
    """Compile an update to a function of the item and the values that returns the new item."""
    parser = _Parser(text, dict(names))
    return parser.done(parser.clauses())


class _Parser:
    def __init__(self, text: str, names: dict[str, str]) -> None:
        self.text, self.names = text, names
        self.tokens: list[str] = []
        self.used_names: set[str] = set()
        self.used_values: set[str] = set()
        at = 0
        while text[at:].strip():
            found = _TOKENS.match(text, at)
            if not found:
                raise SyntaxError(f"unknown syntax at {text[at:]!r} in {text!r}")
            self.tokens.append(found[1] or found[2])
            at = found.end()

    def done(self, apply: Callable[..., Any]) -> Expression:
        if self.tokens:
            raise SyntaxError(f"unknown syntax at {self.tokens} in {self.text!r}")
        return Expression(apply, frozenset(self.used_names), frozenset(self.used_values))

    def peek(self) -> str:
        return self.tokens[0] if self.tokens else ""

    def word(self) -> str:
        return self.peek().upper()

    def take(self, *wanted: str) -> str:
        if not self.tokens or (wanted and self.word() not in wanted):
            raise SyntaxError(f"expected {wanted or 'more'} at {self.tokens} in {self.text!r}")
        return self.tokens.pop(0)

    def path(self) -> str:
        token = self.take()
        if token.startswith("#"):
            self.used_names.add(token)
            return self.names[token]
        if not token[0].isalpha():
            raise SyntaxError(f"not a path: {token} in {self.text!r}")
        return token

    def either(self) -> Condition:
        parts = [self.both()]
        while self.word() == "OR":
            self.take()
            parts.append(self.both())
        return parts[0] if len(parts) == 1 else lambda item, values: any(part(item, values) for part in parts)

    def both(self) -> Condition:
        parts = [self.term()]
        while self.word() == "AND":
            self.take()
            parts.append(self.term())
        return parts[0] if len(parts) == 1 else lambda item, values: all(part(item, values) for part in parts)

    def term(self) -> Condition:
        if self.word() == "NOT":
            self.take()
            inner = self.term()
            return lambda item, values: not inner(item, values)
        if self.peek() == "(":
            self.take()
            inner = self.either()
            self.take(")")
            return inner
        if self.peek() in {"attribute_exists", "attribute_not_exists"}:
            exists = self.take() == "attribute_exists"
            self.take("(")
            path = self.path()
            self.take(")")
            return lambda item, values: (path in item) is exists
        if self.peek() in {"contains", "begins_with"}:
            return self.text_function(self.take())
        return self.comparison()

    def text_function(self, name: str) -> Condition:
        self.take("(")
        path = self.path()
        self.take(",")
        other = self.operand()
        self.take(")")
        if name == "begins_with":
            return lambda item, values: path in item and _text(item[path]).startswith(_text(other(item, values)))

        def contains(item: Item, values: Values) -> bool:
            if path not in item:
                return False
            [(kind, held)] = item[path].items()
            [(of, one)] = other(item, values).items()
            if (kind, of) not in {("SS", "S"), ("S", "S")}:
                raise SyntaxError(f"contains({kind}, {of}) is not simulated")
            return one in held

        return contains

    def comparison(self) -> Condition:
        left = self.operand()
        if self.word() == "BETWEEN":
            self.take()
            low = self.operand()
            self.take("AND")
            high = self.operand()
            return lambda item, values: _order(low, left, item, values, "<=") and _order(left, high, item, values, "<=")
        sign = self.take(*_COMPARE)
        right = self.operand()
        return lambda item, values: _order(left, right, item, values, sign)

    def operand(self) -> Operand:
        token = self.peek()
        if token.startswith(":"):
            self.take()
            self.used_values.add(token)
            return lambda item, values: values[token]
        if token == "size":
            self.take()
            self.take("(")
            path = self.path()
            self.take(")")
            return lambda item, values: {"N": str(len(next(iter(item[path].values()))))} if path in item else None
        path = self.path()
        return lambda item, values: item.get(path)

    def clauses(self) -> Update:
        steps: list[Callable[[dict[str, Any], Item, Values], None]] = []
        seen = set()
        while self.tokens:
            kind = self.take("SET", "REMOVE", "ADD", "DELETE").upper()
            if kind in seen:
                raise SyntaxError(f"two {kind} clauses in {self.text!r}")
            seen.add(kind)
            steps.append({"SET": self.set, "REMOVE": self.remove, "ADD": self.add, "DELETE": self.delete}[kind]())
            while self.peek() == ",":
                self.take()
                steps.append({"SET": self.set, "REMOVE": self.remove, "ADD": self.add, "DELETE": self.delete}[kind]())
        if not steps:
            raise SyntaxError(f"an empty update: {self.text!r}")

        def apply(item: Item, values: Values) -> dict[str, Any]:
            after = dict(item)
            for step in steps:
                step(after, item, values)
            return after

        return apply

    def set(self) -> Callable[[dict[str, Any], Item, Values], None]:
        path = self.path()
        self.take("=")
        value = self.value()

        def step(after: dict[str, Any], item: Item, values: Values) -> None:
            new = value(item, values)
            if new is None:
                raise ValueError(f"{self.text!r} sets {path} to an attribute that is not there")
            after[path] = new

        return step

    def value(self) -> Operand:
        left = self.part()
        if self.peek() not in {"+", "-"}:
            return left
        sign = 1 if self.take() == "+" else -1
        right = self.part()
        return lambda item, values: {"N": str(int(left(item, values)["N"]) + sign * int(right(item, values)["N"]))}

    def part(self) -> Operand:
        if self.peek() != "if_not_exists":
            return self.operand()
        self.take()
        self.take("(")
        path = self.path()
        self.take(",")
        other = self.operand()
        self.take(")")
        return lambda item, values: item.get(path) or other(item, values)

    def remove(self) -> Callable[[dict[str, Any], Item, Values], None]:
        path = self.path()
        return lambda after, item, values: after.pop(path, None) and None

    def add(self) -> Callable[[dict[str, Any], Item, Values], None]:
        path, operand = self.path(), self.operand()

        def step(after: dict[str, Any], item: Item, values: Values) -> None:
            [(kind, more)] = operand(item, values).items()
            if kind == "N":
                after[path] = {"N": str(int(item.get(path, {"N": "0"})["N"]) + int(more))}
            else:
                after[path] = {"SS": sorted({*item.get(path, {"SS": []})[kind], *more})}

        return step

    def delete(self) -> Callable[[dict[str, Any], Item, Values], None]:
        path, operand = self.path(), self.operand()

        def step(after: dict[str, Any], item: Item, values: Values) -> None:
            rest = set(item.get(path, {"SS": []})["SS"]) - set(operand(item, values)["SS"])
            after.pop(path, None)
            if rest:
                after[path] = {"SS": sorted(rest)}

        return step


def _text(attribute: Item) -> str:
    return str(attribute["S"])


def _order(left: Operand, right: Operand, item: Item, values: Values, sign: str) -> bool:
    """Compare as DynamoDB does: never true if an attribute is missing, and only within one type."""
    one, other = left(item, values), right(item, values)
    if one is None or other is None:
        return False
    [(kind, a)], [(of, b)] = one.items(), other.items()
    if kind != of:
        return sign == "<>"
    if kind == "N":
        a, b = float(a), float(b)
    return _COMPARE[sign](a, b)
