"""Stand-ins for the resources that moto's CloudFormation lacks or the local stack serves itself."""

from typing import Any

from moto.cloudformation import parsing
from moto.core.common_models import CloudFormationModel

ARNS = {
    "AWS::Lambda::Function": "lambda:{region}:{account}:function:{name}",
    "AWS::Lambda::LayerVersion": "lambda:{region}:{account}:layer:{name}:1",
    "AWS::Scheduler::Schedule": "scheduler:{region}:{account}:schedule/default/{name}",
}
NAMES = {
    "AWS::Lambda::Function": "FunctionName",
    "AWS::Lambda::LayerVersion": "LayerName",
    "AWS::Scheduler::Schedule": "Name",
}
# What these do in moto needs Docker or an archive of code; the local stack runs functions itself.
OURS = {
    "AWS::Lambda::Function",
    "AWS::Lambda::LayerVersion",
    "AWS::Lambda::EventInvokeConfig",
    "AWS::Lambda::Permission",
}


def stand_in(types: set[str]) -> None:
    """Give moto's CloudFormation a model of each type it lacks, so that references to it resolve."""
    known = {model.cloudformation_type() for model in CloudFormationModel.__subclasses__()}
    for kind in types:
        if kind in OURS or kind not in known:
            type(kind, (StandIn, CloudFormationModel), {"kind": kind})
    parsing.get_model_list.cache_clear()
    parsing.get_model_map.cache_clear()
    parsing.get_name_type_map.cache_clear()


class StandIn:
    """A resource of which only the name matters here."""

    kind = ""

    def __init__(self, name: str, account: str, region: str) -> None:
        self.name = name
        self.physical_resource_id = name
        pattern = ARNS.get(self.kind, "{service}:{region}:{account}:{name}")
        service = self.kind.split("::")[1].lower()
        self.arn = "arn:aws:" + pattern.format(service=service, region=region, account=account, name=name)
        if self.kind == "AWS::Lambda::LayerVersion":
            self.physical_resource_id = self.arn

    @classmethod
    def cloudformation_type(cls) -> str:
        return cls.kind

    @classmethod
    def cloudformation_name_type(cls) -> str:
        return NAMES.get(cls.kind, "")

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:  # noqa: ARG003
        return True

    @classmethod
    def create_from_cloudformation_json(
        cls, resource_name: str, _properties: Any, account_id: str, region_name: str, **_: Any
    ) -> "StandIn":
        return cls(resource_name, account_id, region_name)

    def is_created(self) -> bool:
        return True

    def get_cfn_attribute(self, attribute_name: str) -> str:
        return self.arn if attribute_name.endswith("Arn") else f"{self.name}.{attribute_name}.local"


def name_of(resource_type: str, stack_name: str, logical_id: str) -> str:
    """A resource's name without a random part, so that a kept journal still fits after a restart."""
    name = f"{stack_name}-{logical_id}"
    return name.lower() if resource_type in {"AWS::S3::Bucket", "AWS::ECR::Repository"} else name
