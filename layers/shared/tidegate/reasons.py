"""The exit codes, stop codes and texts of AWS, and the failure each of them means."""

from typing import NamedTuple


class Rule(NamedTuple):
    """A text with any of the patterns means the code; all parts of a pattern between "…" must be there.

    Patterns are lower case without quotation marks. A text starts with ": " and ends with a space, and "(", "[" and
    "|" are ": " too, so that ": agent " is a word that stands alone or after a prefix.
    """

    code: str
    patterns: tuple[str, ...]


BUILDER_EXIT_CODES = {
    100: "BUILDER_ERROR",
    101: "JOB_UNAVAILABLE",
    102: "CLONE_FAILED",
    103: "REF_NOT_FOUND",
    104: "ROOT_DIRECTORY_MISSING",
    105: "INSTALL_FAILED",
    106: "BUILD_FAILED",
    107: "OUTPUT_MISSING",
    108: "UPLOAD_FAILED",
    109: "BUILD_TIMED_OUT",
    110: "SITE_TOO_LARGE",
    111: "TOOL_MISSING",
    112: "SETTINGS_INVALID",
}
EXIT_CODES = {
    0: "RESULT_MISSING",
    125: "CONTAINER_RUNTIME_FAILED",
    126: "COMMAND_NOT_EXECUTABLE",
    127: "COMMAND_NOT_FOUND",
    130: "STOPPED_OUTSIDE",
    134: "PROCESS_ABORTED",
    137: "PROCESS_KILLED",
    143: "TERMINATED",
    255: "COMMAND_FAILED",
    **dict.fromkeys(range(1, 100), "COMMAND_FAILED"),
    **dict.fromkeys((129, 131, 132, 133, 135, 136, 138, 139, *range(140, 143), *range(144, 160)), "PROCESS_CRASHED"),
}
STOP_CODES = {
    "spotinterruption": "SPOT_INTERRUPTED",
    "terminationnotice": "HOST_MAINTENANCE",
    "infrastructurehealth": "HOST_MAINTENANCE",
    "userinitiated": "STOPPED_OUTSIDE",
    "serviceschedulerinitiated": "SCHEDULER_STOPPED",
}

# Beats even the builder's own exit code: a killed command looks like one that failed.
MEMORY_RULES = (Rule("OUT_OF_MEMORY", ("outofmemoryerr", "killed due to memory usage")),)

# Who stopped a task: says more than ECS's stop code.
STOP_RULES = (
    Rule("SPOT_INTERRUPTED", ("spot task was interrupted", "spotinterruption", "spot interruption")),
    Rule("HOST_DEREGISTERED", ("instance deregistration forced",)),
    Rule("HOST_LOST", ("host ec2 : instance",)),
    Rule("HOST_MAINTENANCE", ("performing maintenance", "task retirement", "underlying infrastructure hosting")),
    Rule("HEALTH_CHECK_FAILED", ("failed elb health check", "failed container health check",
                                 "task failed … health check")),
    Rule("SCHEDULER_STOPPED", ("scaling activity initiated by",)),
    Rule("STOPPED_OUTSIDE", ("stopped by user", "taskstoppedbeforepullbegin", "stopped before image pull")),
)  # fmt: skip

# What keeps a task from starting, before its container runs; also told by RunTask.
START_RULES = (
    # images
    Rule("IMAGE_RATE_LIMITED", ("toomanyrequests", "pull rate limit", "cannotpull … too many requests")),
    Rule("IMAGE_ACCESS_DENIED", ("not authorized to perform: ecr", "cannotpull … not authorized to perform")),
    Rule("IMAGE_TOO_LARGE", ("no space left on device",)),
    Rule("IMAGE_WRONG_PLATFORM", ("descriptor matching platform", "no matching manifest for", "exec format error",
                                  "cannotpull … does not match the specified platform")),
    Rule("IMAGE_INVALID", ("no processor for media-type", "invalid reference format", "unsupported manifest media")),
    Rule("IMAGE_REGISTRY_UNREACHABLE", (
        "error pulling image configuration",
        "cannotpull … nil pointer dereference",
        "cannotpull … i/o timeout",
        "cannotpull … dial tcp",
        "cannotpull … waiting for connection",
        "cannotpull … client.timeout",
        "cannotpull … awaiting headers",
        "cannotpull … handshake timeout",
        "cannotpull … timed out",
        "cannotpull … no such host",
        "cannotpull … connection refused",
        "cannotpull … is unreachable",
        "cannotpull … connection issue",
        "connection issue between the task and amazon ecr",
        "cannot pull registry auth … connection issue",
    )),
    Rule("IMAGE_REGISTRY_ERROR", ("httpreaderseeker", "httpreadseeker", "cannotpull … failed to copy")),
    Rule("IMAGE_NOT_FOUND", (
        "pull access denied",
        "cannotpull … repository does not exist",
        "cannotpull … not found",
        "cannotpull … does not exist",
        "cannotpull … manifest unknown",
        "cannotpull … name unknown",
    )),
    Rule("IMAGE_REGISTRY_ERROR", (
        "cannotpull … unexpected eof",
        "cannotpull … : eof",
        "cannotpull …  eof ",
        "cannotpull … connection reset",
        "cannotpull … broken pipe",
        "cannotpull … deadline exceeded",
    )),
    Rule("IMAGE_PULL_CANCELED", ("cannotpull … context ca",)),
    Rule("IMAGE_ACCESS_DENIED", (
        "cannotpull … 403 forbidden",
        "cannotpull … 401 unauthorized",
        "cannotpull … authorization failed",
        "cannotpull … failed to authorize",
        "cannotpull … no basic auth credentials",
        "cannotpull … accessdeniedexception",
        "cannotpull … requested access to the resource is denied",
        "cannotpullcontainerauth",
        "cannotpullecrcontainer",
        "cannotpullimagemanifest",
    )),
    Rule("IMAGE_REGISTRY_ERROR", (
        "cannotpull … unexpected status",
        "cannotpull … service unavailable",
        "cannotpull … bad gateway",
        "cannotpull … internal server error",
    )),
    Rule("IMAGE_PULL_FAILED", ("cannotpull",)),
    # resources
    Rule("START_THROTTLED", ("resourceinitialization … throttlingexception", "resourceinitialization … rate exceeded",
                             "rate limit exceeded while preparing", "unexpected ec2 error … requestlimitexceeded")),
    Rule("ENV_FILE_UNAVAILABLE", ("download env files",)),
    Rule("VOLUME_MOUNT_FAILED", ("efs utils", "efs volume", "mount.nfs")),
    Rule("LOG_GROUP_MISSING", ("log group does not exist", "cannot find the amazon cloudwatch log group",
                               "cloudwatch log stream … resourcenotfound")),
    Rule("SERVICE_UNREACHABLE", ("logging driver … dial tcp", "logging driver … send request failed")),
    Rule("LOG_SETUP_INVALID", ("initialize logging driver",)),
    Rule("SERVICE_UNREACHABLE", (
        "validate logger args … signal: killed",
        "resourceinitialization … i/o timeout",
        "resourceinitialization … dial tcp",
        "resourceinitialization … no such host",
        "resourceinitialization … send request failed",
        "resourceinitialization … connection issue",
        "resourceinitialization … timed out",
    )),
    Rule("SECRET_ACCESS_DENIED", ("not authorized to perform: secretsmanager", "not authorized to perform: ssm",
                                  "not authorized to perform: kms", "pull secrets … accessdenied",
                                  "retrieve secret … accessdenied", "pull secrets … not authorized")),
    Rule("SECRET_NOT_FOUND", ("did not contain json key", "find the specified secret", "fetching secret data",
                              "retrieve secret … invalid parameters", "pull secrets … invalid parameters",
                              "invalid ssm parameters", "pull secrets … resourcenotfound", "parameternotfound",
                              "resourceinitialization … marked for deletion")),
    Rule("RESOURCE_INITIALIZATION_FAILED", ("resourceinitialization … deadline exceeded",)),
    Rule("LOG_SETUP_INVALID", ("validate logger args", "create cloudwatch log stream")),
    Rule("NETWORK_SETUP_FAILED", ("configure eni", "setup regular eni", "netplugin failed")),
    Rule("ENTRYPOINT_INVALID", ("create new container runtime task",)),
    Rule("ROLE_NOT_ASSUMABLE", ("unable to assume the role", "unable to assume role")),
    # network and capacity
    Rule("SUBNET_FULL", ("insufficientfreeaddresses", "not have enough free addresses")),
    Rule("TAG_POLICY_VIOLATED", ("tagpolicyviolation", "tag policy violation")),
    Rule("SERVICE_ROLE_INVALID", ("unexpected ec2 error … authfailure", "unexpected ec2 error … unauthorizedoperation",
                                  "unexpected ec2 error … not authorized")),
    Rule("STORAGE_SETUP_FAILED", ("ephemeralstorage provisioning", "ephemeral storage provisioning")),
    Rule("NETWORK_SETUP_FAILED", (
        "network interface provision",
        "attach network interface",
        "unexpected ec2 error",
    )),
    Rule("SPOT_UNAVAILABLE", ("spot capacity is … unavailable", "spot capacity … not available")),
    Rule("CAPACITY_UNAVAILABLE", ("capacity is unavailable", "capacity is currently unavailable",
                                  "capacity is not available", "insufficient capacity", ": resource:", "resource:cpu",
                                  "resource:memory", "resource:port", "resource:eni", "resource:gpu")),
    Rule("QUOTA_REACHED", ("reached the limit on the number of", "limit on the number of vcpus",
                           "limit on the number of tasks")),
    Rule("PLACEMENT_IMPOSSIBLE", ("placement constraint", "no active instances", "empty capacity provider",
                                  "no container instances were found", ": attribute ", ": attribute:",
                                  ": location ", ": location:")),
    Rule("TASK_DEFINITION_INVALID", ("not compatible with the selected compute strategy",)),
    Rule("SERVICE_DISCOVERY_FAILED", ("service discovery instance",)),
    Rule("HOST_UNREACHABLE", (": agent ", ": agent:", ": agent.", "agent is not connected", "agent disconnected")),
    # the container runtime
    Rule("DEPENDENCY_FAILED", ("taskdependencyerror", "dependency graph")),
    Rule("COMMAND_NOT_FOUND", ("executable file not found", "cannotstartcontainer … runtime create failed",
                               "cannotstartcontainer … no such file or directory")),
    Rule("CONTAINER_RUNTIME_FAILED", ("cannotstartcontainer", "containerruntimetimeout", "dockertimeout",
                                      "could not transition to", "cannotinspectcontainer", "dockerstateerror",
                                      "nosuchcontainer", "containervanished", "no container matching saved id")),
    Rule("CONTAINER_STOP_FAILED", ("cannotstopcontainer",)),
    Rule("CONTAINER_SETUP_INVALID", ("containerruntimeerror", "create container config", "cannotcreatevolume",
                                     "cannotcreatecontainer", "containernetworkingerror", "hostconfigerror",
                                     "invalidvolumeerror")),
    # the families, where nothing above knows more
    Rule("RESOURCE_INITIALIZATION_FAILED", ("resourceinitialization", "pull secrets or registry auth")),
    Rule("PLATFORM_ERROR", ("internalerror", "internal error", "task provisioning failed")),
)  # fmt: skip

# What RunTask itself answers; tried before START_RULES.
RUN_TASK_RULES = (
    Rule("THROTTLED", (": throttling", "throttlingexception", "throttledexception", "requestthrottled",
                       "rate exceeded", "toomanyrequestsexception", "requestlimitexceeded", ": slowdown",
                       ": 429 ", ": 429:")),
    Rule("QUOTA_REACHED", ("reached the limit on the number of", "limitexceeded")),
    Rule("PASS_ROLE_DENIED", ("perform: iam:passrole",)),
    Rule("ACCESS_DENIED", ("accessdenied", "not authorized to perform", "unauthorizedoperation",
                           "unrecognizedclient", "invalidclienttokenid", "expiredtoken", "nocredentials",
                           "unable to locate credentials", "invalidsignature")),
    Rule("TOKEN_CONFLICT", ("conflictexception",)),
    Rule("CLUSTER_NOT_FOUND", ("clusternotfound", "cluster not found")),
    Rule("PLATFORM_VERSION_INVALID", ("platformtaskdefinitionincompatib", "platformunknown")),
    Rule("FEATURE_UNSUPPORTED", ("unsupportedfeature",)),
    Rule("ACCOUNT_BLOCKED", ("blockedexception", "account is blocked", "account has been blocked")),
    Rule("SIZE_INVALID", ("no fargate configuration exists",)),
    Rule("SETTINGS_TOO_LARGE", ("overrides length must be",)),
    Rule("NETWORK_CONFIG_INVALID", ("network configuration must be provided", "assign public ip is not supported",
                                    "subnet … does not exist", "security group … does not exist", "invalidsubnet",
                                    "invalidgroup.notfound", "does not appear to belong")),
    Rule("TASK_DEFINITION_MISSING", ("taskdefinition is inactive", "describe task definition",
                                     "taskdefinition not found", "task definition not found",
                                     "task definition is inactive")),
    Rule("TASK_DEFINITION_INVALID", ("not support launch_type", "not support launch type",
                                     "is not a container in the taskdefinition", "override for container named")),
    Rule("TASK_NOT_VISIBLE", (": missing ", ": missing:")),
    Rule("REQUEST_REFUSED", ("paramvalidation",)),
    Rule("START_UNCERTAIN", ("serverexception", "internalfailure", "internalservererror", "internal server error",
                             "internalerror", "internal error", "serviceunavailable", "service unavailable",
                             ": 5xx ", ": 500 ", ": 500:", ": 502 ", ": 502:", ": 503 ", ": 503:", ": 504 ", ": 504:",
                             ": 408 ", ": 408:")),
)  # fmt: skip

# What a failed RunTask may still say where no other table knows more.
REST_RULES = (
    Rule("REQUEST_REFUSED", ("invalidparameter", "clientexception", "validationexception", "resourcenotfound",
                             "invalidrequest")),
    Rule("START_UNCERTAIN", ("timeout", "timed out", "time-out", "bad gateway", "endpointconnection",
                             "could not connect", "connectionclosed", "connection was closed", "connectionerror",
                             "connection reset", "connection aborted", "connection refused", "httpclienterror",
                             "responsestreaming", "incompleteread", "sslerror", "proxyconnection")),
)  # fmt: skip
