"""What is left of the layer's packages makes the calls that the whole packages make, and no other is missed."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import botocore
import pytest
from botocore.handlers import BUILTIN_HANDLERS
from botocore.httpsession import DEFAULT_CA_BUNDLE

from scripts import trimming

ROOT = Path(__file__).parents[2]
SITE = Path(botocore.__file__).parents[1]
CALLS = ROOT / "tests" / "every_call.py"


@pytest.fixture(scope="module")
def trimmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    packages = tmp_path_factory.mktemp("layer")
    data = SITE / "botocore" / "data"
    others = [each.name for each in data.iterdir() if each.is_dir() and each.name not in trimming.SERVICES]
    for name in ("botocore", "urllib3", "aws_lambda_powertools"):
        ignored = shutil.ignore_patterns("__pycache__", *others) if name == "botocore" else None
        shutil.copytree(SITE / name, packages / name, ignore=ignored)
    (packages / "botocore" / "data" / "polly").mkdir()
    trimming.trim(packages)
    return packages


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    return calls(SITE)


@pytest.fixture(scope="module")
def ours(trimmed: Path) -> dict[str, Any]:
    return calls(trimmed)


def run(packages: Path, *words: str, given: str = "") -> str:
    """What Python says, with the packages of this folder before all others."""
    environment = {"PYTHONPATH": str(packages), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0"}
    command = [sys.executable, *words]
    return subprocess.run(command, check=True, stdout=-1, text=True, input=given, env=environment).stdout


def calls(packages: Path) -> dict[str, Any]:
    """What each call sends and returns, and what all together load."""
    wanted = json.dumps({service: sorted(operations) for service, operations in trimming.SERVICES.items()})
    answer: dict[str, Any] = json.loads(run(packages, str(CALLS), given=wanted))
    assert answer["botocore"] == str(packages / "botocore")
    return answer


def test_every_call_of_ours_sends_and_returns_the_same(whole: dict[str, Any], ours: dict[str, Any]) -> None:
    assert ours["calls"] == whole["calls"]
    # Each operation, in each region, with a good answer and a bad one, all of them sent.
    assert len(ours["calls"]) >= 2 * len(ours["regions"]) * sum(map(len, trimming.SERVICES.values()))
    assert all(call["sent"] for call in ours["calls"])


def test_no_call_loads_what_is_deferred(whole: dict[str, Any], ours: dict[str, Any]) -> None:
    deferred = {statement.split()[1] for _, statement, _ in trimming.DEFERRED}
    assert deferred <= set(whole["loaded"])
    assert not deferred & set(ours["loaded"])


def test_short_requests_go_to_the_same_places(trimmed: Path) -> None:
    script = (
        "import itertools, json, sys\n"
        "sys.path.append(sys.argv[1])\n"
        "from botocore.config import Config\n"
        "from botocore.exceptions import BotoCoreError\n"
        "from tidegate import aws\n"
        "aws._session().set_credentials('key', 'secret', 'token')\n"
        "data = aws._session().get_component('data_loader').load_data('partitions')\n"
        "regions = [each for partition in data['partitions'] for each in [*partition['regions']][:3]]\n"
        "def place(region, fips, dual_stack):\n"
        "    config = Config(use_fips_endpoint=fips, use_dualstack_endpoint=dual_stack)\n"
        "    try: return aws._create('dynamodb', config, region_name=region)._place\n"
        "    except BotoCoreError as error: return str(error)\n"
        "print(json.dumps([place(*each) for each in itertools.product(regions, (False, True), (False, True))]))\n"
    )
    whole, ours = (json.loads(run(each, "-c", script, str(ROOT / "layers" / "shared"))) for each in (SITE, trimmed))
    assert ours == whole
    assert {"https://dynamodb.us-gov-west-1.amazonaws.com/", "https://dynamodb.eusc-de-east-1.amazonaws.eu/"} <= {*ours}


def test_what_is_deferred_still_works(trimmed: Path) -> None:
    script = (
        "import botocore.session, pydoc\n"
        "client = botocore.session.Session().create_client('dynamodb', region_name='eu-central-1')\n"
        "print(pydoc.getdoc(client.get_item))\n"
        "print(pydoc.getdoc(client.get_paginator('query').paginate))\n"
    )
    said = run(trimmed, "-c", script)
    assert "client.get_item(" in said
    assert "paginator.paginate(" in said


def test_only_what_concerns_our_calls_is_kept_of_a_table() -> None:
    kept = {handler[0] for handler in BUILTIN_HANDLERS if trimming.concerns(handler[0])}
    assert {"before-call", "before-parameter-build.s3.PutObject", "before-parse.s3.*"} <= kept
    assert not {"before-parameter-build.s3.UploadPart", "after-call.iam", "docs.*.s3.*.complete-section"} & kept
    assert len(kept) < len(BUILTIN_HANDLERS) / 2


def test_a_table_keeps_its_handlers_and_aliases() -> None:
    rows = "    ('before-call', a),  # all\n    ('after-call.iam', b),\n    ('x.s3', c(1), D),\n"
    source = f"BEFORE = 1\nHANDLERS = [\n{rows}]\nadd(HANDLERS)\n"
    once = trimming.only_ours(source, "HANDLERS")
    assert once == "BEFORE = 1\nHANDLERS = [('before-call', a), ('x.s3', c(1), D)]\nadd(HANDLERS)\n"
    assert trimming.only_ours(once, "HANDLERS") == once
    assert (
        trimming.only_ours("A = {'logs': 'cloudwatch-logs', 'ses': 'email'}", "A")
        == "A = {'logs': 'cloudwatch-logs'}\n"
    )


@pytest.mark.parametrize(
    "source", ["", "T = make()\n", "T = []\nT = []\n", "T = [(name, a)]\n", "T = [*others]\n", "T = {name: 1}\n"]
)
def test_a_table_of_another_form_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match=r"expected|malformed"):
        trimming.only_ours(source, "T")


def test_an_import_is_moved_to_its_use_once() -> None:
    source = "import os\nfrom a import b\nfrom c import d\n\n\ndef f():\n    x = b(1)\n"
    moved = trimming.defer(source, "from a import b", "    x = b(1)")
    assert moved == "import os\nfrom c import d\n\n\ndef f():\n    from a import b\n    x = b(1)\n"
    assert trimming.defer(moved, "from a import b", "    x = b(1)") == moved


@pytest.mark.parametrize(
    "change", [("from a import b\n", ""), ("b(1)", "b(2)"), ("= b(1)", "= b(1), b"), ("d\n", "d\ne = b\n")]
)
def test_an_import_that_is_not_as_expected_is_refused(change: tuple[str, str]) -> None:
    source = "import os\nfrom a import b\nfrom c import d\n\n\ndef f():\n    x = b(1)\n"
    with pytest.raises(ValueError, match="from a import b"):
        trimming.defer(source.replace(*change), "from a import b", "    x = b(1)\n")


def test_a_package_gives_the_same_on_demand(trimmed: Path) -> None:
    script = (
        "import importlib, json, sys\n"
        "package = importlib.import_module(sys.argv[1])\n"
        "first = getattr(package, 'APIGatewayHttpResolver', package.__name__)\n"
        "early = [name for name in ('asyncio', 'zipfile') if name in sys.modules]\n"
        "found = {name: getattr(package, name) for name in package.__all__}\n"
        "given = {name: [str(type(it)), it.__module__, it.__qualname__] for name, it in found.items()}\n"
        "try: package.nothing\n"
        "except AttributeError as error: given['nothing'] = str(error)\n"
        "print(json.dumps([early, given]))\n"
    )
    for name in trimming.COLLECTIONS:
        package = name.removesuffix("/__init__.py").replace("/", ".")
        (_, all_at_once), (early, given) = (json.loads(run(each, "-c", script, package)) for each in (SITE, trimmed))
        assert given == all_at_once
        assert len(given) > 10
        assert not early


def test_what_bears_its_modules_name_is_imported_at_once() -> None:
    source = '"""Doc."""\nfrom a.b import b, c\nfrom a.d import E, F\n__all__ = ["E"]\n'
    changed = trimming.on_demand(source)
    assert "from a.b import b, c" in changed
    assert "{'E': 'a.d', 'F': 'a.d'}" in changed
    assert trimming.on_demand(changed) == changed


@pytest.mark.parametrize("statement", ["x = 1", "import a", "from . import a", "def f(): ...", "f()"])
def test_a_package_that_does_more_is_refused(statement: str) -> None:
    with pytest.raises(ValueError, match="expected imports from modules"):
        trimming.on_demand(f"from a.b import C\n{statement}\n")


def test_a_changed_package_is_named(trimmed: Path, tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    shutil.copytree(trimmed, packages)
    (packages / "botocore" / "utils.py").write_text("")
    with pytest.raises(ValueError, match=r"botocore.utils\.py: not as it was.*EVENT_ALIASES"):
        trimming.trim(packages)


def test_a_bundle_without_one_of_the_roots_is_refused() -> None:
    bundle = Path(DEFAULT_CA_BUNDLE).read_text(encoding="ascii")
    with pytest.raises(ValueError, match="Amazon Root CA 3"):
        trimming.amazon_roots(bundle.replace('Label: "Amazon Root CA 3"', 'Label: "Another"'))


def test_the_data_holds_every_operation_that_the_layer_calls() -> None:
    """The other way round, too: what is kept for nothing is read at each cold start."""
    clients = {
        "connections": "apigatewaymanagementapi",
        "functions": "lambda",
        "s3_briefly": "s3",
        "secrets": "secretsmanager",
    }
    called: dict[str, set[str]] = {"s3": {"HeadBucket", "CreateBucket"}}  # by botocore itself
    for module in (ROOT / "layers" / "shared" / "tidegate").glob("*.py"):
        source = re.sub(r"\s+", "", module.read_text(encoding="utf-8"))
        for client, method, wanted in re.findall(r"""\b(\w+)\(\)\.(\w+)\(['"]?(\w*)""", source):
            service = clients.get(client, client)
            if service in trimming.SERVICES:
                name = wanted if method in {"get_paginator", "generate_presigned_url"} else method
                called.setdefault(service, set()).add("".join(part.title() for part in name.split("_")))
    assert called == trimming.SERVICES


def test_an_operation_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="Teleport"):
        trimming.only({"Teleport"}, {"operations": {"GetObject": {}}, "shapes": {}})


def test_the_data_holds_every_service_that_the_layer_asks_for() -> None:
    source = (ROOT / "layers" / "shared" / "tidegate" / "aws.py").read_text(encoding="utf-8")
    asked = set(re.findall(r'_create\(\s*"(\w+)"', source))
    assert asked
    assert asked <= set(trimming.SERVICES)
