"""Every failure a build can end with, and the texts of AWS that mean it."""

from typing import NamedTuple

from tidegate.status import Blame, Retry

_USER, _CONFIG, _PLATFORM = Blame.USER, Blame.CONFIG, Blame.PLATFORM
_NO, _NEW, _SAME, _WAIT = Retry.NO, Retry.NEW_ATTEMPT, Retry.SAME_TOKEN, Retry.WAIT


class Reason(NamedTuple):
    """What a failure code means; the message and the fix are one plain sentence each."""

    code: str
    blame: Blame
    retry: Retry
    message: str
    fix: str


class Rule(NamedTuple):
    """A text with any of the patterns means the code; all parts of a pattern between "…" must be there.

    Patterns are lower case without quotation marks. A text starts with ": " and ends with a space, so that
    ": agent " is a word that stands alone or after a prefix.
    """

    code: str
    patterns: tuple[str, ...]


_ROUTE = (
    "Give the tasks a way out: AssignPublicIp with public SubnetIds, a NAT gateway, or VPC endpoints for "
    "ecr.api, ecr.dkr, s3, logs and secretsmanager, and let the security groups allow HTTPS outwards."
)
_AGAIN = "Nothing to do: the build is tried again; if it keeps happening, look at the AWS Health Dashboard."
_DEPLOY = "Deploy the stack again, so that what it points at exists and fits together."

_REASONS = (
    # The builder's own, by its exit code (docs/contract.md).
    Reason("BUILDER_ERROR", _PLATFORM, _NEW, "The builder itself broke.", "Nothing to do in the repository: "
           "the build is tried again; if it keeps failing, report it with the log."),
    Reason("JOB_UNAVAILABLE", _PLATFORM, _NEW, "The builder could not fetch its job.",
           "Nothing to do in the repository: the build is tried again; if it keeps failing, check that the tasks "
           "reach S3."),
    Reason("CLONE_FAILED", _USER, _NO, "The git repository could not be cloned.",
           "Check that the git URL is right and that the repository is public."),
    Reason("REF_NOT_FOUND", _USER, _NO, "The repository has no such branch, tag or commit.",
           "Push the ref first, or build one that exists."),
    Reason("ROOT_DIRECTORY_MISSING", _USER, _NO, "The root directory is not a directory of the repository.",
           "Correct `rootDirectory` in the project's settings; it is relative to the top of the repository."),
    Reason("INSTALL_FAILED", _USER, _NO, "The install command failed.",
           "Read the last lines of the log, and run the same command on a fresh clone."),
    Reason("BUILD_FAILED", _USER, _NO, "The build command failed.",
           "Read the last lines of the log, and run the same command on a fresh clone."),
    Reason("OUTPUT_MISSING", _USER, _NO, "The build made no files where the site was expected.",
           "Set `outputDirectory` to the directory that the build command writes."),
    Reason("UPLOAD_FAILED", _PLATFORM, _NEW, "The site's files could not be uploaded.",
           "Nothing to do in the repository: the build is tried again; if it keeps failing, check that the tasks "
           "reach S3."),
    Reason("BUILD_TIMED_OUT", _USER, _NO, "The build ran out of time.",
           "Make the build faster, look for a command that never ends, or raise BuildTimeoutSeconds."),
    Reason("SITE_TOO_LARGE", _USER, _NO, "The site has more files or bytes than allowed.",
           "Leave out what visitors do not need, or point `outputDirectory` at the site alone."),
    Reason("TOOL_MISSING", _CONFIG, _NO, "The builder's image lacks a tool that the build needs.",
           "Build the builder's image again from the Dockerfile of this version."),
    Reason("SETTINGS_INVALID", _USER, _NO, "The repository's own settings cannot be followed.",
           "Correct the file that the log names, such as package.json."),
    # How the container ended.
    Reason("OUT_OF_MEMORY", _USER, _NO, "The build used more memory than it has.",
           "Set a larger `memory` for the project, raise BuildMemory, or make the build use less."),
    Reason("COMMAND_FAILED", _USER, _NO, "The container ended with an error.",
           "Read the last lines of the log; they show which command failed."),
    Reason("COMMAND_NOT_EXECUTABLE", _USER, _NO, "A command was found but cannot be executed.",
           "Make the file executable (`git update-index --chmod=+x`) and check that it is made for this CPU."),
    Reason("COMMAND_NOT_FOUND", _USER, _NO, "A command was not found.",
           "Add the tool to the project's dependencies, and check spelling and line ends of the script that calls it."),
    Reason("PROCESS_ABORTED", _USER, _NO, "The build aborted itself, in Node.js mostly because its heap is full.",
           "Set a larger `memory` for the project, or raise the heap with NODE_OPTIONS=--max-old-space-size."),
    Reason("PROCESS_CRASHED", _USER, _NO, "The build crashed.",
           "Look for a native module made for another CPU or Node.js version, and install it afresh."),
    Reason("PROCESS_KILLED", _USER, _NO, "The container was killed, and nothing says by whom.",
           "Memory is the usual cause: set a larger `memory` for the project, or raise BuildMemory."),
    Reason("TERMINATED", _PLATFORM, _NO, "The container was told to stop, and nothing says by whom.",
           "Start the build again; if it happens again, look for StopTask in CloudTrail."),
    Reason("RESULT_MISSING", _PLATFORM, _NO, "The builder ended well but left no valid result.",
           "Start the build again; if it happens again, check that nothing deletes from the bucket."),
    Reason("TASK_LOST", _PLATFORM, _NEW, "The task is gone and left neither exit code nor reason.", _AGAIN),
    Reason("UNCLASSIFIED", _PLATFORM, _NO, "The build ended for a reason that is not known here.",
           "Read the evidence, start the build again, and report the text so that it gets a rule."),
    # Who stopped the task.
    Reason("SPOT_INTERRUPTED", _PLATFORM, _NEW, "AWS took the Spot capacity of this build back.",
           "Nothing to do: the build is tried again on demand; lower SpotShare if it happens too often."),
    Reason("HOST_LOST", _PLATFORM, _NEW, "The machine under the build went away.", _AGAIN),
    Reason("HOST_MAINTENANCE", _PLATFORM, _NEW, "AWS took the machine under the build out for maintenance.", _AGAIN),
    Reason("HOST_DEREGISTERED", _CONFIG, _NEW, "The machine under the build was removed from the cluster by hand.",
           "Drain a container instance before it is deregistered."),
    Reason("HOST_UNREACHABLE", _PLATFORM, _NEW, "The container agent of the machine is disconnected.", _AGAIN),
    Reason("STOPPED_OUTSIDE", _USER, _NO, "Somebody stopped the task without asking Tidegate.",
           "Start the build again, and cancel builds with POST /v1/builds/{id}/cancel."),
    Reason("SCHEDULER_STOPPED", _CONFIG, _NO, "A service's scheduler stopped the task.",
           "Do not run the builder's task definition as an ECS service."),
    Reason("HEALTH_CHECK_FAILED", _USER, _NO, "The task failed a health check.",
           "Remove the health check or target group: a build serves nothing; else correct its command and grace period."),
    # The builder's image.
    Reason("IMAGE_NOT_FOUND", _CONFIG, _NO, "The builder's image does not exist or is private.",
           "Push the image and set BuilderImage to it, best by digest, and keep it from ECR's lifecycle rules."),
    Reason("IMAGE_ACCESS_DENIED", _CONFIG, _NO, "The task may not pull the builder's image.",
           "Give the execution role the rights of AmazonECSTaskExecutionRolePolicy, and check the repository's policy."),
    Reason("IMAGE_REGISTRY_UNREACHABLE", _CONFIG, _NEW, "The task has no network path to the image registry.", _ROUTE),
    Reason("IMAGE_REGISTRY_ERROR", _PLATFORM, _NEW, "The image registry broke the download off.",
           "Nothing to do: the build is tried again; if it stays, check the S3 endpoint's policy."),
    Reason("IMAGE_RATE_LIMITED", _PLATFORM, _NEW, "The image registry allows no more pulls for now.",
           "Keep the builder's image in ECR, or use a pull-through cache."),
    Reason("IMAGE_TOO_LARGE", _CONFIG, _NO, "The builder's image does not fit on the task's disk.",
           "Make the image smaller, or raise EphemeralStorage of the task definition (21 to 200 GiB)."),
    Reason("IMAGE_WRONG_PLATFORM", _CONFIG, _NO, "The builder's image is made for another CPU or system.",
           "Build the image for the task definition's RuntimePlatform, or for several."),
    Reason("IMAGE_INVALID", _CONFIG, _NO, "The builder's image is no container image, or its name is malformed.",
           "Set BuilderImage to a valid reference of a container image."),
    Reason("IMAGE_PULL_CANCELED", _CONFIG, _NO, "The pull of the builder's image was broken off.",
           "Look for StopTask in CloudTrail; without one, check the route from SubnetIds to the registry."),
    Reason("IMAGE_PULL_FAILED", _CONFIG, _NEW, "The builder's image could not be pulled.",
           "Check BuilderImage, the execution role, and the route from SubnetIds to the registry."),
    # What a task needs before its container starts.
    Reason("SECRET_NOT_FOUND", _USER, _NO, "A secret or a key of it does not exist.",
           "Create the secret or parameter with the name and JSON key the task definition reads."),
    Reason("SECRET_ACCESS_DENIED", _CONFIG, _NO, "The execution role may not read a secret.",
           "Allow the role secretsmanager:GetSecretValue or ssm:GetParameters on it, and kms:Decrypt on its key."),
    Reason("SERVICE_UNREACHABLE", _CONFIG, _NEW, "The task has no network path to an AWS service it needs.", _ROUTE),
    Reason("ENV_FILE_UNAVAILABLE", _CONFIG, _NO, "An environment file could not be downloaded.",
           "Upload the file that the task definition names, and allow the execution role s3:GetObject on it."),
    Reason("LOG_GROUP_MISSING", _CONFIG, _NO, "The log group of the builder does not exist.", _DEPLOY),
    Reason("LOG_SETUP_INVALID", _CONFIG, _NO, "The log driver could not be set up.",
           "Correct logConfiguration of the task definition, and allow the execution role logs:CreateLogStream."),
    Reason("VOLUME_MOUNT_FAILED", _CONFIG, _NEW, "A volume could not be mounted.",
           "Check the file system's mount targets and that its security group lets NFS in from the tasks."),
    Reason("ENTRYPOINT_INVALID", _CONFIG, _NO, "The container's entry point is missing or cannot be executed.",
           "Correct ENTRYPOINT and CMD of the builder's image, or the command of the task definition."),
    Reason("RESOURCE_INITIALIZATION_FAILED", _PLATFORM, _NEW, "ECS could not prepare what the task needs.",
           "Nothing to do: the build is tried again; if it stays, check SubnetIds, secrets and the execution role."),
    Reason("START_THROTTLED", _PLATFORM, _NEW, "Too many tasks started at once, and AWS slowed this one down.",
           "Nothing to do: the build is tried again; lower MaxConcurrentBuilds if it happens often."),
    Reason("ROLE_NOT_ASSUMABLE", _CONFIG, _NEW, "ECS cannot assume a role of the task.",
           "Let the role's trust policy name ecs-tasks.amazonaws.com; a new role needs some seconds."),
    # Network, capacity, placement.
    Reason("NETWORK_SETUP_FAILED", _PLATFORM, _NEW, "AWS could not set up the task's network interface.", _AGAIN),
    Reason("STORAGE_SETUP_FAILED", _PLATFORM, _NEW, "AWS could not set up the task's disk.", _AGAIN),
    Reason("PLATFORM_ERROR", _PLATFORM, _NEW, "AWS had an internal error.", _AGAIN),
    Reason("SUBNET_FULL", _CONFIG, _WAIT, "The subnet has no free addresses.",
           "Add larger or more subnets to SubnetIds, or lower MaxConcurrentBuilds."),
    Reason("TAG_POLICY_VIOLATED", _CONFIG, _NO, "The organization's tag policy refuses the task's tags.",
           "Give the stack the tags that the policy asks for."),
    Reason("SERVICE_ROLE_INVALID", _CONFIG, _NO, "ECS has lost its right to use EC2 in this account.",
           "Create the role again: aws iam create-service-linked-role --aws-service-name ecs.amazonaws.com."),
    Reason("CAPACITY_UNAVAILABLE", _PLATFORM, _WAIT, "AWS has no capacity for the task now.",
           "The build waits by itself; SubnetIds in more availability zones make this rare."),
    Reason("SPOT_UNAVAILABLE", _PLATFORM, _NEW, "AWS has no Spot capacity now.",
           "Nothing to do: the build is tried again on demand; lower SpotShare if it happens often."),
    Reason("QUOTA_REACHED", _PLATFORM, _WAIT, "The account runs as many tasks or vCPUs as its quota allows.",
           "The build waits by itself; ask for a higher Fargate quota or lower MaxConcurrentBuilds."),
    Reason("PLACEMENT_IMPOSSIBLE", _CONFIG, _NO, "The cluster has no place where such a task may run.",
           "Use FARGATE or FARGATE_SPOT, or give the cluster instances that meet the placement constraints."),
    Reason("SERVICE_DISCOVERY_FAILED", _CONFIG, _NEW, "The task could not be registered in Cloud Map.",
           "Check the Cloud Map namespace, or remove service discovery: a build needs none."),
    # The container runtime.
    Reason("CONTAINER_RUNTIME_FAILED", _PLATFORM, _NEW, "The container runtime of the machine failed.", _AGAIN),
    Reason("CONTAINER_STOP_FAILED", _PLATFORM, _NO, "The container could not be stopped in order.",
           "Start the build again."),
    Reason("CONTAINER_SETUP_INVALID", _CONFIG, _NO, "The container cannot be made as the task definition says.",
           "Correct user, entry point, volumes and network mode in the task definition and the builder's image."),
    Reason("DEPENDENCY_FAILED", _USER, _NO, "Another container that the builder waits for failed.",
           "Read that container's log, and correct or remove it from the task definition."),
    # RunTask.
    Reason("THROTTLED", _PLATFORM, _SAME, "AWS asks to start tasks more slowly.",
           "Nothing to do: the same request is sent again; lower MaxConcurrentBuilds if it happens often."),
    Reason("START_UNCERTAIN", _PLATFORM, _SAME, "AWS did not say whether the task was started.",
           "Nothing to do: the same request is sent again, and cannot start a second task."),
    Reason("TASK_NOT_VISIBLE", _PLATFORM, _SAME, "ECS does not know the task, or not yet.",
           "Nothing to do: ECS is asked again."),
    Reason("SIZE_INVALID", _USER, _NO, "Fargate has no task of this size.",
           "Set `cpu` and `memory` of the project to a pair that Fargate offers, such as 1024 and 2048."),
    Reason("SETTINGS_TOO_LARGE", _USER, _NO, "The build's settings are larger than ECS accepts.",
           "Shorten the git URL and the settings of the project."),
    Reason("NETWORK_CONFIG_INVALID", _CONFIG, _NO, "The subnets or security groups of the stack cannot be used.",
           "Set SubnetIds and SecurityGroupIds to ones that exist in one VPC of this region."),
    Reason("TASK_DEFINITION_INVALID", _CONFIG, _NO, "The task definition does not fit this request.", _DEPLOY),
    Reason("TASK_DEFINITION_MISSING", _CONFIG, _NO, "The task definition does not exist or is inactive.", _DEPLOY),
    Reason("CLUSTER_NOT_FOUND", _CONFIG, _NO, "The cluster does not exist in this region.", _DEPLOY),
    Reason("ACCESS_DENIED", _CONFIG, _NO, "The controller may not start tasks.",
           "Allow the function's role ecs:RunTask on the task definition's ARN with :* for its revisions."),
    Reason("PASS_ROLE_DENIED", _CONFIG, _NO, "The controller may not hand the task its roles.",
           "Allow the function's role iam:PassRole on both task roles, for ecs-tasks.amazonaws.com."),
    Reason("TOKEN_CONFLICT", _CONFIG, _NO, "The same attempt was started before with other parameters.",
           "Start the build again, and report it: this is a fault of Tidegate."),
    Reason("PLATFORM_VERSION_INVALID", _CONFIG, _NO, "The Fargate platform version does not fit the task.",
           "Use the platform version LATEST."),
    Reason("FEATURE_UNSUPPORTED", _CONFIG, _NO, "This region does not offer a feature that the task uses.",
           "Use another region, or switch the feature off in the template."),
    Reason("ACCOUNT_BLOCKED", _PLATFORM, _NO, "AWS has blocked the account.", "Ask AWS Support to unblock it."),
    Reason("REQUEST_REFUSED", _CONFIG, _NO, "ECS refused the request to start the task.",
           "Read the evidence, compare it with the stack's parameters, and deploy the stack again."),
)  # fmt: skip
REASONS = {reason.code: reason for reason in _REASONS}

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
MEMORY_RULES = (Rule("OUT_OF_MEMORY", ("outofmemory", "container killed due to memory", "oom-killed", "oomkilled")),)

# Who stopped a task: says more than ECS's stop code.
STOP_RULES = (
    Rule("SPOT_INTERRUPTED", ("spot task was interrupted", "spotinterruption", "spot interruption")),
    Rule("HOST_DEREGISTERED", ("instance deregistration forced",)),
    Rule("HOST_LOST", ("host ec2 … terminated", "host ec2 … stopped", "host ec2 (instance")),
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
        "cannotpull … unreachable",
        "cannotpull … connection issue",
        "connection issue between the task and amazon ecr",
        "cannot pull registry auth … connection issue",
    )),
    Rule("IMAGE_REGISTRY_ERROR", (
        "httpreaderseeker",
        "httpreadseeker",
        "cannotpull … failed to copy",
        "cannotpull … unexpected status code",
    )),
    Rule("IMAGE_NOT_FOUND", (
        "pull access denied",
        "cannotpull … repository does not exist",
        "cannotpull … not found",
        "cannotpull … does not exist",
        "cannotpull … manifest unknown",
        "cannotpull … name unknown",
        "cannotpullimagemanifest",
    )),
    Rule("IMAGE_REGISTRY_ERROR", (
        "cannotpull … unexpected eof",
        "cannotpull …  eof",
        "cannotpull … :eof",
        "cannotpull … connection reset",
        "cannotpull … broken pipe",
        "cannotpull … deadline exceeded",
        "cannotpull … service unavailable",
        "cannotpull … bad gateway",
        "cannotpull … internal server error",
    )),
    Rule("IMAGE_PULL_CANCELED", ("cannotpull … context cancel",)),
    Rule("IMAGE_ACCESS_DENIED", (
        "cannotpull … forbidden",
        "cannotpull … unauthorized",
        "cannotpull … authorization failed",
        "cannotpull … no basic auth credentials",
        "cannotpull … accessdenied",
        "cannotpullcontainerauth",
        "cannotpullecrcontainer",
    )),
    Rule("IMAGE_PULL_FAILED", ("cannotpull",)),
    # resources
    Rule("START_THROTTLED", ("resourceinitialization … throttl", "resourceinitialization … rate exceeded",
                             "rate limit exceeded while preparing", "unexpected ec2 error … requestlimitexceeded",
                             "unexpected ec2 error … throttl")),
    Rule("ENV_FILE_UNAVAILABLE", ("download env files",)),
    Rule("VOLUME_MOUNT_FAILED", ("efs utils", "efs volume", "mount.nfs")),
    Rule("LOG_GROUP_MISSING", ("log group does not exist", "cannot find the amazon cloudwatch log group",
                               "cloudwatch log stream … resourcenotfound")),
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
                                  "capacity is not available", "resource:", "insufficient capacity")),
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
    Rule("THROTTLED", ("throttl", "rate exceeded", "toomanyrequestsexception", "requestlimitexceeded", "slowdown")),
    Rule("QUOTA_REACHED", ("reached the limit on the number of", "limitexceeded")),
    Rule("PASS_ROLE_DENIED", ("iam:passrole",)),
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
                                    "invalidgroup.notfound", "security group id … does not exist")),
    Rule("TASK_DEFINITION_MISSING", ("taskdefinition is inactive", "describe task definition",
                                     "taskdefinition not found", "task definition not found",
                                     "task definition is inactive")),
    Rule("TASK_DEFINITION_INVALID", ("not support launch_type", "not support launch type",
                                     "is not a container in the taskdefinition", "override for container named")),
    Rule("TASK_NOT_VISIBLE", (": missing ", ": missing:")),
)  # fmt: skip

# Where neither table knows more about a RunTask that failed.
UNCERTAIN_RULES = (
    Rule("START_UNCERTAIN", (
        "serverexception",
        "internalfailure",
        "internalservererror",
        "internal server error",
        "serviceunavailable",
        "service unavailable",
        "bad gateway",
        "gateway time",
        "timeout",
        "timed out",
        "endpointconnection",
        "could not connect",
        "connectionclosed",
        "connection was closed",
        "connectionerror",
        "connection reset",
        "connection aborted",
        "connection refused",
        "httpclienterror",
        "responsestreaming",
        "incompleteread",
        "sslerror",
        "proxyconnection",
        ": 500 ", ": 500:", ": 502 ", ": 502:", ": 503 ", ": 503:", ": 504 ", ": 504:",
        "(500)", "(502)", "(503)", "(504)", "5xx",
        "internalerror",
    )),
    Rule("REQUEST_REFUSED", ("invalidparameter", "clientexception", "paramvalidation", "validationexception",
                             "resourcenotfound", "invalidrequest")),
)  # fmt: skip
