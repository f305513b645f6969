"""The template as CloudFormation would see it: SAM's resources translated, folders of code in place of archives."""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

CODE = "s3://local/"
CODE_PROPERTIES = {"AWS::Serverless::Function": "CodeUri", "AWS::Serverless::LayerVersion": "ContentUri"}


def translated(path: Path, region: str, cache: Path) -> dict[str, Any]:
    """Translate a SAM template; the same template and translator are translated only once."""
    text = path.read_text(encoding="utf-8")
    name = hashlib.sha256(f"{version('aws-sam-translator')}\n{region}\n{text}".encode()).hexdigest()[:32]
    kept = cache / f"template-{name}.json"
    if kept.exists():
        template: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        return template
    template = translate(text, region)
    kept.parent.mkdir(parents=True, exist_ok=True)
    written = kept.with_suffix(f".{hash(id(template))}")
    written.write_text(json.dumps(template), encoding="utf-8")
    written.replace(kept)
    return template


def translate(text: str, region: str) -> dict[str, Any]:
    """Run the SAM translator over a template's text."""
    # Imported here because they take longer than all the rest of the start, and the result is kept.
    import boto3
    from samtranslator.parser.parser import Parser
    from samtranslator.translator.translator import Translator
    from samtranslator.yaml_helper import yaml_parse

    source = yaml_parse(text)
    for resource in source["Resources"].values():
        code = CODE_PROPERTIES.get(resource["Type"])
        if code:
            resource["Properties"][code] = CODE + resource["Properties"][code]
    session = boto3.Session(region_name=region)
    translator = Translator({}, Parser(), boto_session=session)
    template: dict[str, Any] = json.loads(json.dumps(translator.translate(source, parameter_values={})))
    return template
