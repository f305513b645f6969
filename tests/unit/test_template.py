"""What must hold in template.yaml, as it is written and as SAM translates it."""

import json
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse

from local.template import translate
from tidegate.inputs import FARGATE_SIZES
from tidegate.settings import Settings

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "template.yaml").read_text(encoding="utf-8")
SOURCE: dict[str, Any] = yaml_parse(TEXT)
PARAMETERS: dict[str, Any] = SOURCE["Parameters"]
FUNCTIONS = [
    "ApiFunction",
    "TaskStateChangeFunction",
    "LogForwarderFunction",
    "ViewersFunction",
    "ReconcilerFunction",
    "SitesFunction",
]
STARTERS = ["ApiFunction", "TaskStateChangeFunction", "ReconcilerFunction"]
# Variables that only one function has.
OWN_VARIABLES = {
    "LogForwarderFunction": {"LOG_SINK_URL", "LOG_SINK_SECRET"},
    "ReconcilerFunction": {"LOG_FORWARDER"},
}


@cache
def resources() -> dict[str, dict[str, Any]]:
    """The translated resources."""
    found: dict[str, dict[str, Any]] = translate(TEXT, "us-east-1")["Resources"]
    return found


def properties(name: str) -> dict[str, Any]:
    found: dict[str, Any] = resources()[name]["Properties"]
    return found


def of_type(kind: str) -> dict[str, dict[str, Any]]:
    """Logical id -> properties of the translated resources of a type."""
    return {name: each["Properties"] for name, each in resources().items() if each["Type"] == kind}


def target(value: Any) -> str:
    """The logical id that a Ref or GetAtt names."""
    match value:
        case {"Ref": str(name)} | {"Fn::GetAtt": [str(name), _]}:
            return name
        case _:
            raise AssertionError(f"neither Ref nor GetAtt: {value}")


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def statements() -> Iterator[tuple[str, dict[str, Any]]]:
    """Each statement that allows something to a role, with the logical id it stands in."""
    for name, each in resources().items():
        inline = [policy["PolicyDocument"] for policy in each["Properties"].get("Policies", [])]
        managed = [each["Properties"]["PolicyDocument"]] if each["Type"] == "AWS::IAM::ManagedPolicy" else []
        for document in inline + managed:
            for statement in as_list(document["Statement"]):
                assert statement["Effect"] == "Allow"
                yield name, statement


def statement_of(action: str) -> dict[str, Any]:
    """The only statement that allows the action."""
    [statement] = [each for _, each in statements() if action in as_list(each["Action"])]
    return statement


# functions


def test_all_functions_are_known() -> None:
    assert sorted(of_type("AWS::Lambda::Function")) == sorted(FUNCTIONS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_runs_python_3_13_on_arm64_with_the_layer(name: str) -> None:
    function = properties(name)
    assert function["Runtime"] == "python3.13"
    assert function["Architectures"] == ["arm64"]
    assert [resources()[target(layer)]["Type"] for layer in function["Layers"]] == ["AWS::Lambda::LayerVersion"]
    assert (ROOT / SOURCE["Resources"][name]["Properties"]["CodeUri"] / "app.py").is_file()


def test_layer_is_built_for_the_same_runtime() -> None:
    layer = SOURCE["Resources"]["SharedLayer"]
    assert layer["Properties"]["CompatibleRuntimes"] == ["python3.13"] == [layer["Metadata"]["BuildMethod"]]
    assert layer["Properties"]["CompatibleArchitectures"] == ["arm64"] == [layer["Metadata"]["BuildArchitecture"]]
    content = ROOT / layer["Properties"]["ContentUri"]
    assert (content / "tidegate").is_dir()
    assert not (content / "python").exists(), "the build method would make it python/python"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_environment_is_the_contract(name: str) -> None:
    table = (ROOT / "docs/contract.md").read_text(encoding="utf-8").partition("## Functions' environment")[2]
    contract = set(re.findall(r"`([A-Z_]+)`", "".join(re.findall(r"(?m)^\|([^|]+)\|", table))))
    variables = set(properties(name)["Environment"]["Variables"])
    others = set[str]().union(*OWN_VARIABLES.values()) - OWN_VARIABLES.get(name, set())
    assert variables == contract - others
    read_by_libraries = {"AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI"}
    assert contract - read_by_libraries == {field.upper() for field in Settings.__struct_fields__}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_has_a_log_group_with_retention(name: str) -> None:
    group = properties(target(properties(name)["LoggingConfig"]["LogGroup"]))
    assert group["RetentionInDays"] == {"Ref": "LogRetentionDays"}


def test_every_log_group_has_retention_and_none_is_shared() -> None:
    groups = of_type("AWS::Logs::LogGroup")
    assert [name for name, each in groups.items() if "RetentionInDays" not in each] == []
    used = [target(properties(name)["LoggingConfig"]["LogGroup"]) for name in FUNCTIONS]
    assert len(set(used)) == len(FUNCTIONS)


# asynchronous calls


def asynchronous_functions() -> set[str]:
    rules = [goal["Arn"] for rule in of_type("AWS::Events::Rule").values() for goal in rule["Targets"]]
    schedules = [each["Target"]["Arn"] for each in of_type("AWS::Scheduler::Schedule").values()]
    subscriptions = [each["DestinationArn"] for each in of_type("AWS::Logs::SubscriptionFilter").values()]
    return {target(arn) for arn in rules + schedules + subscriptions}


def test_every_asynchronous_function_has_a_failure_destination() -> None:
    configured = {
        target(each["FunctionName"]): target(each["DestinationConfig"]["OnFailure"]["Destination"])
        for each in of_type("AWS::Lambda::EventInvokeConfig").values()
    }
    assert asynchronous_functions() == {"TaskStateChangeFunction", "LogForwarderFunction", "ReconcilerFunction"}
    for name in asynchronous_functions():
        queue = configured[name]
        assert resources()[queue]["Type"] == "AWS::SQS::Queue"
        allowed = [
            each["Resource"]
            for role, each in statements()
            if role == f"{name}Role" and each["Action"] == "sqs:SendMessage"
        ]
        assert [target(arn) for arn in allowed] == [queue], "the function must be allowed to send what it failed on"


def test_rule_and_schedule_retry_and_keep_what_was_not_delivered() -> None:
    goals = [goal for rule in of_type("AWS::Events::Rule").values() for goal in rule["Targets"]]
    goals += [each["Target"] for each in of_type("AWS::Scheduler::Schedule").values()]
    assert len(goals) == 2
    for goal in goals:
        assert goal["RetryPolicy"]["MaximumRetryAttempts"] > 0
        assert target(goal["DeadLetterConfig"]["Arn"]) == "UndeliveredEventsQueue"


def test_only_our_rules_may_write_to_the_queue_of_undelivered_events() -> None:
    policy = properties("UndeliveredEventsQueuePolicy")
    [statement] = policy["PolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": "events.amazonaws.com"}
    sources = as_list(statement["Condition"]["ArnEquals"]["aws:SourceArn"])
    assert {target(arn) for arn in sources} == set(of_type("AWS::Events::Rule"))


def test_queues_are_encrypted_and_keep_for_two_weeks_what_must_not_be_lost() -> None:
    for name, queue in of_type("AWS::SQS::Queue").items():
        assert queue["SqsManagedSseEnabled"] is True
        assert queue["MessageRetentionPeriod"] == (3600 if name == "FailedSweepsQueue" else 14 * 24 * 3600)


def test_what_a_function_failed_on_fits_into_the_queue() -> None:
    """An asynchronous event may have 1 MB, a message 1 MiB where the queue is told so."""
    assert properties("FailedInvocationsQueue")["MaximumMessageSize"] == 1024 * 1024


def test_every_permission_names_its_source() -> None:
    for permission in of_type("AWS::Lambda::Permission").values():
        assert permission["SourceArn"]


def test_rule_sees_what_matters_of_the_tasks_of_this_cluster_and_family() -> None:
    [rule] = of_type("AWS::Events::Rule").values()
    assert rule["EventPattern"] == {
        "source": ["aws.ecs"],
        "detail-type": ["ECS Task State Change"],
        "detail": {
            "clusterArn": [{"Fn::GetAtt": ["Cluster", "Arn"]}],
            "group": [{"Fn::Sub": f"family:{properties('BuilderTaskDefinition')['Family']['Fn::Sub']}"}],
            "lastStatus": ["RUNNING", "DEPROVISIONING", "STOPPED"],
        },
    }


def test_forwarder_is_fed_by_the_builder_and_by_no_function() -> None:
    [subscription] = of_type("AWS::Logs::SubscriptionFilter").values()
    group = target(subscription["LogGroupName"])
    [container] = properties("BuilderTaskDefinition")["ContainerDefinitions"]
    assert group == target(container["LogConfiguration"]["Options"]["awslogs-group"])
    assert group not in {target(properties(name)["LoggingConfig"]["LogGroup"]) for name in FUNCTIONS}
    assert subscription["FilterPattern"] == "", "every line is forwarded"


def test_builds_cannot_read_the_environment_of_an_init() -> None:
    [container] = properties("BuilderTaskDefinition")["ContainerDefinitions"]
    assert container["LinuxParameters"]["InitProcessEnabled"] is False


# policies


def test_no_policy_has_a_wildcard_without_a_reason() -> None:
    for name, statement in statements():
        actions = as_list(statement["Action"])
        assert not [action for action in actions if "*" in action], name
        if "*" in as_list(statement["Resource"]):
            assert actions in (["ecr:GetAuthorizationToken"], ["ecs:ListTasks"]), f"{name}: {actions}"


def test_statements_on_patterns_of_arns_stay_in_this_account() -> None:
    for name, statement in statements():
        for resource in as_list(statement["Resource"]):
            match resource:
                case {"Fn::Sub": str(pattern)} if pattern.startswith("arn:"):
                    assert "${AWS::Region}:${AWS::AccountId}:" in pattern, name
                case {"Fn::Sub": str(pattern)}:
                    assert re.match(r"\$\{\w+\.Arn\}/", pattern), name
                case {"Fn::GetAtt": [_, "Arn"]} | {"Ref": "LogSinkSecretArn"} | "*":
                    pass
                case _:
                    pytest.fail(f"{name}: {resource}")


def test_pass_role_is_for_the_execution_role_and_ecs_only() -> None:
    statement = statement_of("iam:PassRole")
    assert target(statement["Resource"]) == "BuilderExecutionRole"
    assert statement["Condition"] == {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}


@pytest.mark.parametrize("action", ["ecs:RunTask", "ecs:StopTask", "ecs:DescribeTasks", "ecs:ListTasks"])
def test_tasks_are_those_of_this_cluster(action: str) -> None:
    assert statement_of(action)["Condition"] == {"ArnEquals": {"ecs:cluster": {"Fn::GetAtt": ["Cluster", "Arn"]}}}


def test_run_task_is_for_the_builders_family() -> None:
    family = properties("BuilderTaskDefinition")["Family"]["Fn::Sub"]
    assert statement_of("ecs:RunTask")["Resource"]["Fn::Sub"].endswith(f":task-definition/{family}:*")


def test_same_functions_start_builds_and_open_sessions() -> None:
    roles = [target(role) for role in properties("StartBuildsPolicy")["Roles"]]
    [trust] = properties("BuilderAccessRole")["AssumeRolePolicyDocument"]["Statement"]
    assert roles == [f"{name}Role" for name in STARTERS]
    assert [target(role) for role in trust["Principal"]["AWS"]] == roles


def test_neither_builds_nor_logs_can_be_deleted() -> None:
    found = [
        each
        for _, each in statements()
        if "dynamodb:DeleteItem" in as_list(each["Action"]) and target(each["Resource"]) != "ConnectionsTable"
    ]
    assert {target(each["Resource"]): each["Condition"] for each in found} == {
        "BuildsTable": {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": "key:*"}},
        "LogsTable": {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": "~unsealed"}},
    }


def test_forwarder_may_write_nothing_but_logs_and_what_viewers_got() -> None:
    writes = {
        (action, target(each["Resource"]))
        for name, each in statements()
        if name == "LogForwarderFunctionRole"
        for action in as_list(each["Action"])
        if action not in ("dynamodb:GetItem", "dynamodb:Query", "execute-api:ManageConnections")
    }
    assert writes == {
        ("dynamodb:PutItem", "LogsTable"),
        ("dynamodb:UpdateItem", "ConnectionsTable"),
        ("dynamodb:DeleteItem", "ConnectionsTable"),
        ("sqs:SendMessage", "FailedInvocationsQueue"),
    }


@pytest.mark.parametrize(
    ("policy", "condition", "roles", "allowed"),
    [
        (
            "LogSinkSecretPolicy",
            "HasLogSinkSecret",
            ["LogForwarderFunctionRole"],
            [("secretsmanager:GetSecretValue", "LogSinkSecretArn")],
        ),
        (
            "LogSinkCommitPolicy",
            "HasLogSink",
            ["LogForwarderFunctionRole"],
            [("s3:GetObject", "${ArtifactsBucket.Arn}/sites/*/source.json")],
        ),
        (
            "HandOverLogsPolicy",
            "HasLogSink",
            ["ReconcilerFunctionRole"],
            [("lambda:InvokeFunction", "LogForwarderFunction")],
        ),
    ],
)
def test_what_a_sink_needs_is_allowed_only_with_one(
    policy: str, condition: str, roles: list[str], allowed: list[tuple[str, str]]
) -> None:
    assert resources()[policy]["Condition"] == condition
    assert [target(role) for role in properties(policy)["Roles"]] == roles
    found = [
        (each["Action"], each["Resource"].get("Fn::Sub") or target(each["Resource"]))
        for name, each in statements()
        if name == policy
    ]
    assert found == allowed


def test_sink_and_forwarder_are_named_only_where_they_are_used() -> None:
    variables = {name: properties(name)["Environment"]["Variables"] for name in OWN_VARIABLES}
    assert variables["LogForwarderFunction"]["LOG_SINK_URL"] == {"Ref": "LogSinkUrl"}
    assert variables["LogForwarderFunction"]["LOG_SINK_SECRET"] == {"Ref": "LogSinkSecretArn"}
    forwarder = {"Fn::GetAtt": ["LogForwarderFunction", "Arn"]}
    assert variables["ReconcilerFunction"]["LOG_FORWARDER"] == {"Fn::If": ["HasLogSink", forwarder, ""]}


def test_sites_reads_files_and_projects_only() -> None:
    allowed = [each for name, each in statements() if name == "SitesFunctionRole"]
    actions = {action for each in allowed for action in as_list(each["Action"])}
    assert actions == {"dynamodb:GetItem", "s3:GetObject", "s3:ListBucket"}
    assert {"Fn::Sub": "${ArtifactsBucket.Arn}/sites/*/files/*"} in [each["Resource"] for each in allowed]


# the builder


def test_task_has_no_role_of_its_own_and_no_root() -> None:
    task = properties("BuilderTaskDefinition")
    assert "TaskRoleArn" not in task
    assert target(task["ExecutionRoleArn"]) == "BuilderExecutionRole"
    assert task["NetworkMode"] == "awsvpc"
    assert task["RequiresCompatibilities"] == ["FARGATE"]
    [container] = task["ContainerDefinitions"]
    assert container["User"].partition(":")[0] not in ("", "0", "root")
    assert container["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}
    assert not {"Privileged", "Secrets", "Environment"} & set(container)


def test_container_and_its_log_stream_are_the_contracts() -> None:
    [container] = properties("BuilderTaskDefinition")["ContainerDefinitions"]
    assert container["Name"] == properties("ApiFunction")["Environment"]["Variables"]["BUILDER_CONTAINER"] == "builder"
    log = container["LogConfiguration"]
    assert log["LogDriver"] == "awslogs"
    assert log["Options"]["awslogs-stream-prefix"] == "build"
    assert log["Options"]["mode"] == "blocking", "ECS's default drops lines"


def test_builds_end_before_the_session_that_signed_their_addresses() -> None:
    session = properties("BuilderAccessRole")["MaxSessionDuration"]
    assert session == 3600, "what AWS gives a session that another role's session opens"
    assert PARAMETERS["BuildTimeoutSeconds"]["MaxValue"] <= session - 600, "a task may take minutes to start"


def test_nothing_reaches_builds_and_they_reach_the_web_only() -> None:
    group = properties("BuilderSecurityGroup")
    assert "SecurityGroupIngress" not in group
    assert {(rule["IpProtocol"], rule["FromPort"], rule["ToPort"]) for rule in group["SecurityGroupEgress"]} == {
        ("tcp", 443, 443),
        ("tcp", 80, 80),
    }


def test_images_expire_and_are_scanned() -> None:
    repository = properties("BuilderRepository")
    assert json.loads(repository["LifecyclePolicy"]["LifecyclePolicyText"])["rules"]
    assert repository["ImageScanningConfiguration"] == {"ScanOnPush": True}


# data


def test_memory_fits_cpu_by_the_same_sizes_as_a_requests() -> None:
    rules = {name: rule for name, rule in SOURCE["Rules"].items() if name.startswith("MemoryFitsCpu")}
    sizes = {}
    for rule in rules.values():
        [_, cpu] = rule["RuleCondition"]["Fn::Equals"]
        [assertion] = rule["Assertions"]
        sizes[int(cpu)] = [int(each) for each in assertion["Assert"]["Fn::Contains"][0]]
    assert sizes == {cpu: list(memory) for cpu, memory in FARGATE_SIZES.items()}
    assert [*sizes] == SOURCE["Parameters"]["BuildCpu"]["AllowedValues"]


def test_tables_are_encrypted_backed_up_and_on_demand() -> None:
    tables = of_type("AWS::DynamoDB::Table")
    assert sorted(tables) == ["BuildsTable", "ConnectionsTable", "LogsTable", "ProjectsTable"]
    for name, table in tables.items():
        assert table["BillingMode"] == "PAY_PER_REQUEST"
        assert table["SSESpecification"] == {"SSEEnabled": True}
        if name in {"BuildsTable", "ProjectsTable"}:  # the others' contents expire
            assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    for name in ("BuildsTable", "LogsTable", "ConnectionsTable"):
        assert tables[name]["TimeToLiveSpecification"] == {"AttributeName": "expiresAt", "Enabled": True}


@pytest.mark.parametrize("name", ["BuildsTable", "ProjectsTable", "ArtifactsBucket"])
def test_data_outlives_the_stack(name: str) -> None:
    assert resources()[name]["DeletionPolicy"] == "RetainExceptOnCreate"
    assert resources()[name]["UpdateReplacePolicy"] == "Retain"


def test_bucket_is_private_encrypted_and_tls_only() -> None:
    bucket = properties("ArtifactsBucket")
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    assert bucket["BucketEncryption"]
    assert bucket["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    [statement] = properties("ArtifactsBucketPolicy")["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "s3:*")
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert statement["Resource"] == [
        {"Fn::GetAtt": ["ArtifactsBucket", "Arn"]},
        {"Fn::Sub": "${ArtifactsBucket.Arn}/*"},
    ]


def test_jobs_and_broken_uploads_expire() -> None:
    rules = properties("ArtifactsBucket")["LifecycleConfiguration"]["Rules"]
    assert [(rule.get("Prefix"), rule.get("ExpirationInDays")) for rule in rules] == [
        ("jobs/", {"Ref": "JobRetentionDays"}),
        (None, None),
    ]
    assert rules[1]["AbortIncompleteMultipartUpload"]


# the API


def test_api_is_for_signed_requests_unless_told_otherwise() -> None:
    assert PARAMETERS["ApiAuth"]["Default"] == "AWS_IAM"
    assert SOURCE["Conditions"]["ApiIsOpen"] == {"Fn::Equals": [{"Ref": "ApiAuth"}, "NONE"]}
    body = properties("Api")["Body"]
    assert list(body["paths"]) == ["$default"]
    [operation] = body["paths"]["$default"].values()
    assert operation["security"] == {"Fn::If": ["ApiIsOpen", [], [{"AWS_IAM": []}]]}
    assert body["components"]["securitySchemes"]["AWS_IAM"]["x-amazon-apigateway-authtype"] == "awsSigv4"


def test_stages_are_throttled_and_logged() -> None:
    stages = of_type("AWS::ApiGatewayV2::Stage")
    assert len(stages) == 3
    for name, stage in stages.items():
        assert stage["DefaultRouteSettings"]["ThrottlingRateLimit"] > 0
        if name == "ViewersStage":  # an access log would need a role in the account's settings
            continue
        group = target(stage["AccessLogSettings"]["DestinationArn"])
        assert properties(group)["RetentionInDays"] == {"Ref": "LogRetentionDays"}
        assert json.loads(stage["AccessLogSettings"]["Format"])["requestId"] == "$context.requestId"


# the viewers' WebSocket API


def test_viewers_connect_as_the_api_is_called() -> None:
    routes = {each["RouteKey"]: each for each in of_type("AWS::ApiGatewayV2::Route").values()}
    assert set(routes) == {"$connect", "$disconnect", "$default", "subscribe", "ping"}
    assert routes["$connect"]["AuthorizationType"] == {"Fn::If": ["ApiIsOpen", "NONE", "AWS_IAM"]}
    for route in routes.values():
        assert route["ApiId"] == {"Ref": "ViewersApi"}
        assert route["Target"] == {"Fn::Sub": "integrations/${ViewersIntegration}"}
    api = properties("ViewersApi")
    assert (api["ProtocolType"], api["RouteSelectionExpression"]) == ("WEBSOCKET", "$request.body.action")
    assert "${ViewersFunction.Arn}" in properties("ViewersIntegration")["IntegrationUri"]["Fn::Sub"]


def test_viewers_stage_is_deployed_with_its_routes() -> None:
    stage = resources()["ViewersStage"]
    assert set(stage["DependsOn"]) == set(of_type("AWS::ApiGatewayV2::Route"))
    assert stage["Properties"]["AutoDeploy"] is True
    assert properties("ViewersPermission")["SourceArn"]["Fn::Sub"].endswith(":${ViewersApi}/live/*")
    variables = properties("LogForwarderFunction")["Environment"]["Variables"]
    address = variables["AWS_ENDPOINT_URL_APIGATEWAYMANAGEMENTAPI"]["Fn::Sub"]
    assert SOURCE["Outputs"]["ViewersUrl"]["Value"] == {"Fn::Sub": address.replace("https:", "wss:")}
    assert address.endswith(f"/{stage['Properties']['StageName']}")


def test_frames_go_to_connections_of_this_stage_only() -> None:
    found = [each for _, each in statements() if "execute-api:ManageConnections" in as_list(each["Action"])]
    assert found
    for statement in found:
        assert statement["Resource"]["Fn::Sub"].endswith(":${ViewersApi}/live/POST/@connections/*")


# parameters


def test_parameters_are_described_defaulted_constrained_and_grouped() -> None:
    groups = SOURCE["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    grouped = [name for group in groups for name in group["Parameters"]]
    assert sorted(grouped) == sorted(PARAMETERS)
    for name, parameter in PARAMETERS.items():
        assert parameter["Description"], name
        assert "Default" in parameter, name
        assert {"AllowedValues", "AllowedPattern", "MinValue"} & set(parameter), name


def test_defaults_keep_their_own_constraints() -> None:
    for name, parameter in PARAMETERS.items():
        default = parameter["Default"]
        assert default in parameter.get("AllowedValues", [default]), name
        assert re.search(parameter.get("AllowedPattern", ""), str(default)), name
        if "MinValue" in parameter:
            assert parameter["MinValue"] <= default <= parameter["MaxValue"], name


@pytest.mark.parametrize(
    ("name", "value", "fits"),
    [
        ("SitesUrl", "https://example.com", False),
        ("SitesDomain", "sites.example.com", True),
        ("SitesDomain", "*.example.com", False),
        ("SitesDomain", "example", False),
        ("BuilderImage", "@sha256:" + "0" * 64, True),
        ("BuilderImage", "latest", False),
        ("GitProtocols", "https,file", True),
        ("GitProtocols", "https, http", False),
        ("GitProtocols", "ext", False),
        ("SubnetIds", "subnet-0ecd2fd77ab6a0ab1,subnet-0ecd2fd77ab6a0ab2", True),
        ("SubnetIds", "subnet-0ecd2fd77ab6a0ab1,", False),
        ("VpcId", "subnet-0ecd2fd77ab6a0ab1", False),
        ("LogSinkUrl", "https://otlp.example.com/v1/logs", True),
        ("LogSinkUrl", "https://otlp.example.com:4318/otlp/v1/logs", True),
        ("LogSinkUrl", "http://127.0.0.1:4318/v1/logs", True),
        ("LogSinkUrl", "http://otlp.example.com/v1/logs", False),
        ("LogSinkUrl", "http://127.0.0.1.example.com/v1/logs", False),
        ("LogSinkUrl", "https://key@otlp.example.com/v1/logs", False),
        ("LogSinkUrl", "https://otlp.example.com/v1/logs?key=1", False),
        ("LogSinkSecretArn", "arn:aws:secretsmanager:eu-central-1:123456789012:secret:sink-a1b2c3", True),
        ("LogSinkSecretArn", "arn:aws:secretsmanager:eu-central-1:123456789012:secret:*", False),
        ("LogSinkSecretArn", "sink", False),
    ],
)
def test_patterns(name: str, value: str, *, fits: bool) -> None:
    assert bool(re.search(PARAMETERS[name]["AllowedPattern"], value)) is fits


def test_deploy_needs_no_flags() -> None:
    config = tomllib.loads((ROOT / "samconfig.toml").read_text(encoding="utf-8"))["default"]
    assert config["global"]["parameters"]["stack_name"] == "tidegate"
    assert config["deploy"]["parameters"]["resolve_s3"] is True
    named = [name for name, role in of_type("AWS::IAM::Role").items() if "RoleName" in role]
    assert named == [], "a named role would need CAPABILITY_NAMED_IAM"
    assert config["deploy"]["parameters"]["capabilities"] == "CAPABILITY_IAM"
