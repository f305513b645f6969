"""DynamoDB: items by key, conditions and updates in one step, indexes that follow a moment later."""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

from tests.simulation.expressions import Expression, condition, update
from tests.simulation.world import World, client_error

Item = dict[str, Any]
Watch = Callable[[str, str, Item, Item], None]


class Index(NamedTuple):
    """A secondary index that holds keys only."""

    hash: str
    range: str


class Table:
    """A table with one or two string keys; `views` is what its indexes show so far."""

    def __init__(self, key: str, indexes: dict[str, Index], sort: str = "") -> None:
        self.key, self.sort = key, sort
        self.indexes = indexes
        self.items: dict[str, Item] = {}
        self.views: dict[str, dict[str, Item]] = {name: {} for name in indexes}
        self.pending: list[tuple[float, str, Item]] = []
        self.replaced: dict[str, tuple[float, Item]] = {}

    def key_of(self, item: Item) -> str:
        """The item's key, in one string."""
        key: str = item[self.key]["S"]
        return f"{key} {item[self.sort]['S']}" if self.sort else key


class SimDynamo:
    """The calls that the code under test makes; `watch(table, key, before, after)` is told of each write."""

    def __init__(self, world: World, tables: dict[str, Table], watch: Watch) -> None:
        self.world, self.tables, self.watch = world, tables, watch
        self.index_lag = 1.0

    def put_item(self, **wanted: Any) -> Item:
        table = self.tables[wanted["TableName"]]
        item: Item = dict(wanted["Item"])
        key = table.key_of(item)
        check = _expression(condition, wanted, "ConditionExpression")
        _all_used(wanted, check)
        _known(wanted, "TableName", "Item")
        return self.world.call("dynamodb.put_item", lambda: self._write(wanted, key, check, lambda _: item), key)

    def update_item(self, **wanted: Any) -> Item:
        table = self.tables[wanted["TableName"]]
        key = table.key_of(wanted["Key"])
        check = _expression(condition, wanted, "ConditionExpression")
        change = _expression(update, wanted, "UpdateExpression")
        assert change is not None
        _all_used(wanted, check, change)
        _known(wanted, "TableName", "Key", "UpdateExpression")
        values = wanted.get("ExpressionAttributeValues", {})

        def apply(before: Item) -> Item:
            after: Item = change.apply(before, values) | wanted["Key"]
            return after

        return self.world.call("dynamodb.update_item", lambda: self._write(wanted, key, check, apply), key)

    def delete_item(self, **wanted: Any) -> Item:
        table = self.tables[wanted["TableName"]]
        key = table.key_of(wanted["Key"])
        check = _expression(condition, wanted, "ConditionExpression")
        _all_used(wanted, check)
        _known(wanted, "TableName", "Key")
        return self.world.call("dynamodb.delete_item", lambda: self._write(wanted, key, check, lambda _: {}), key)

    def get_item(self, **wanted: Any) -> Item:
        table = self.tables[wanted["TableName"]]
        key = table.key_of(wanted["Key"])
        _known(wanted, "TableName", "Key", "ConsistentRead")

        def read() -> Item:
            item = table.items.get(key)
            if not wanted.get("ConsistentRead") and key in table.replaced and table.replaced[key][0] > self.world.now:
                item = table.replaced[key][1]
            return {"Item": item} if item else {}

        return self.world.call("dynamodb.get_item", read, key)

    def batch_get_item(self, **wanted: Any) -> Item:
        _known(wanted, "RequestItems")
        [(name, request)] = wanted["RequestItems"].items()
        table = self.tables[name]
        keys = [each[table.key]["S"] for each in request["Keys"]]
        assert request["ConsistentRead"]
        if not 0 < len(keys) <= 100 or len(set(keys)) < len(keys):
            raise client_error("BatchGetItem", "ValidationException", f"{len(keys)} keys, or one twice")

        def read() -> Item:
            most = len(keys)
            if most > 1 and self.world.misfortune(0.1):
                most = self.world.rng.randrange(1, most)
            found = [table.items[key] for key in reversed(keys[:most]) if key in table.items]
            rest = [{table.key: {"S": key}} for key in keys[most:]]
            return {"Responses": {name: found}, "UnprocessedKeys": {name: request | {"Keys": rest}} if rest else {}}

        return self.world.call("dynamodb.batch_get_item", read, f"{len(keys)} items")

    def query(self, **wanted: Any) -> Item:
        table = self.tables[wanted["TableName"]]
        index = wanted["IndexName"]
        chosen = _expression(condition, wanted, "KeyConditionExpression")
        assert chosen is not None
        _all_used(wanted, chosen)
        _known(
            wanted, "TableName", "IndexName", "KeyConditionExpression", "ScanIndexForward", "Limit", "ExclusiveStartKey"
        )
        values = wanted["ExpressionAttributeValues"]
        forward = wanted.get("ScanIndexForward", True)

        def read() -> Item:
            self._settle(table)
            found = [item for item in table.views[index].values() if chosen.apply(item, values)]
            sort = table.indexes[index].range
            found.sort(key=lambda item: item[sort]["S"], reverse=not forward)
            if start := wanted.get("ExclusiveStartKey"):
                last = start[sort]["S"]
                found = [item for item in found if (item[sort]["S"] > last if forward else item[sort]["S"] < last)]
            most = wanted.get("Limit", len(found))
            if len(found) > 1 and self.world.misfortune(0.1):
                most = min(most, self.world.rng.randrange(1, len(found)))
            page = {"Items": found[:most], "Count": len(found[:most])}
            return page | ({"LastEvaluatedKey": found[most - 1]} if most < len(found) else {})

        return self.world.call(f"dynamodb.query {index}", read)

    def get_paginator(self, operation: str) -> "Paginator":
        return Paginator({"query": self.query}[operation], "LastEvaluatedKey", "ExclusiveStartKey", "Limit")

    def _write(self, wanted: Item, key: str, check: Expression | None, change: Callable[[Item], Item]) -> Item:
        table, values = self.tables[wanted["TableName"]], wanted.get("ExpressionAttributeValues", {})
        before = table.items.get(key, {})
        if check and not check.apply(before, values):
            more = {"Item": before} if wanted.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD" and before else {}
            raise client_error("Write", "ConditionalCheckFailedException", "The conditional request failed", **more)
        after = change(before)
        if after:
            table.items[key] = after
        else:
            table.items.pop(key, None)
        now = self.world.now
        lag = self.index_lag * self.world.rng.random()
        table.replaced[key] = (now + lag, before)
        if table.indexes:
            last = table.pending[-1][0] if table.pending else 0
            table.pending.append((max(now + lag, last), key, after))
        self.watch(wanted["TableName"], key, before, after)
        returned = wanted.get("ReturnValues", "NONE")
        if returned == "NONE":
            return {}
        return {"Attributes": {"ALL_NEW": after, "ALL_OLD": before}[returned]}

    def _settle(self, table: Table) -> None:
        """Show in the indexes what was written long enough ago."""
        now = self.world.now
        while table.pending and table.pending[0][0] <= now:
            _, key, item = table.pending.pop(0)
            for name, index in table.indexes.items():
                if index.hash in item and index.range in item:
                    table.views[name][key] = {part: item[part] for part in {index.hash, index.range, table.key}}
                else:
                    table.views[name].pop(key, None)


class Paginator:
    """botocore's paginator, for calls that go on where the last page ended."""

    def __init__(self, call: Callable[..., Item], token: str, argument: str, size: str) -> None:
        self.call, self.token, self.argument, self.size = call, token, argument, size

    def paginate(self, **wanted: Any) -> Iterator[Item]:
        config = wanted.pop("PaginationConfig", {})
        if "PageSize" in config:
            wanted[self.size] = config["PageSize"]
        page = self.call(**wanted)
        yield page
        while page.get(self.token):
            page = self.call(**wanted, **{self.argument: page[self.token]})
            yield page


_COMMON = {
    "ConditionExpression",
    "ExpressionAttributeNames",
    "ExpressionAttributeValues",
    "ReturnValues",
    "ReturnValuesOnConditionCheckFailure",
}


def _known(wanted: Item, *names: str) -> None:
    unknown = set(wanted) - _COMMON - set(names)
    assert not unknown, f"not simulated: {unknown}"


def _expression(compiler: Callable[..., Expression], wanted: Item, name: str) -> Expression | None:
    text = wanted.get(name)
    return compiler(text, tuple(wanted.get("ExpressionAttributeNames", {}).items())) if text else None


def _all_used(wanted: Item, *expressions: Expression | None) -> None:
    """DynamoDB refuses placeholders that are missing or that nothing uses."""
    used = _used(expressions)
    given = wanted.get("ExpressionAttributeNames", {}).keys() | wanted.get("ExpressionAttributeValues", {}).keys()
    if used != given:
        raise client_error("Any", "ValidationException", f"{used ^ given} are missing or not used")


@cache
def _used(expressions: tuple[Expression | None, ...]) -> frozenset[str]:
    return frozenset().union(*(each.names | each.values for each in expressions if each))
