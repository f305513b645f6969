"""Every failure a build can end with: whose it is, whether another attempt helps, and how to mend it."""

from typing import NamedTuple

from tidegate.status import Blame, Retry

_USER, _CONFIG, _PLATFORM = Blame.USER, Blame.CONFIG, Blame.PLATFORM
_NO, _NEW, _SAME, _WAIT = Retry.NO, Retry.NEW_ATTEMPT, Retry.SAME_TOKEN, Retry.WAIT


class Meaning(NamedTuple):
    """What a failure code means; the message and the fix are one plain sentence each."""

    code: str
    blame: Blame
    retry: Retry
    message: str
    fix: str


_ROUTE = (
    "Set SubnetIds to subnets of VpcId with a route to the internet, or leave VpcId and SubnetIds "
    "empty so that the stack makes its own network; security groups and network ACLs must let HTTPS out."
)
_AGAIN = "Nothing to do: the build is tried again; if it keeps happening, look at the AWS Health Dashboard."
_DEPLOY = "Deploy the stack again, so that what it points at exists and fits together."

_MEANINGS = (
    # The builder's own, by its exit code (docs/contract.md).
    Meaning("BUILDER_ERROR", _PLATFORM, _NO, "The builder itself broke.",
            "Start the build again; if it keeps failing, report it with the log."),
    Meaning("JOB_UNAVAILABLE", _PLATFORM, _NEW, "The builder could not fetch its job.",
            "Nothing to do in the repository: the build is tried again; if it keeps failing, check that the tasks "
            "reach S3."),
    Meaning("CLONE_FAILED", _USER, _NO, "The git repository could not be cloned.",
            "Check that the git URL is right and that the repository is public."),
    Meaning("REF_NOT_FOUND", _USER, _NO, "The repository has no such branch, tag or commit.",
            "Push the ref first, or build one that exists."),
    Meaning("ROOT_DIRECTORY_MISSING", _USER, _NO, "The root directory is not a directory of the repository.",
            "Correct `rootDirectory` in the project's settings; it is relative to the top of the repository."),
    Meaning("INSTALL_FAILED", _USER, _NO, "The install command failed.",
            "Read the last lines of the log, and run the same command on a fresh clone."),
    Meaning("BUILD_FAILED", _USER, _NO, "The build command failed.",
            "Read the last lines of the log, and run the same command on a fresh clone."),
    Meaning("OUTPUT_MISSING", _USER, _NO, "The build made no files where the site was expected.",
            "Set `outputDirectory` to the directory that the build command writes."),
    Meaning("UPLOAD_FAILED", _PLATFORM, _NO, "The site's files could not be uploaded.",
            "Start the build again; if it keeps failing, check that the tasks reach S3."),
    Meaning("BUILD_TIMED_OUT", _USER, _NO, "The build ran out of time.",
            "Make the build faster, look for a command that never ends, or raise BuildTimeoutSeconds."),
    Meaning("SITE_TOO_LARGE", _USER, _NO, "The site has more files or bytes than allowed.",
            "Leave out what visitors do not need, or point `outputDirectory` at the site alone."),
    Meaning("TOOL_MISSING", _CONFIG, _NO, "The builder's image lacks a tool that the build needs.",
            "Build the builder's image again from the Dockerfile of this version."),
    Meaning("SETTINGS_INVALID", _USER, _NO, "The repository's own settings cannot be followed.",
            "Correct the file that the log names, such as package.json."),
    # How the container ended.
    Meaning("OUT_OF_MEMORY", _USER, _NO, "The build used more memory than it has.",
            "Set a larger `memory` for the project, raise BuildMemory, or make the build use less."),
    Meaning("COMMAND_FAILED", _USER, _NO, "The container ended with an error.",
            "Read the last lines of the log; they show which command failed."),
    Meaning("COMMAND_NOT_EXECUTABLE", _USER, _NO, "A command was found but cannot be executed.",
            "Make the file executable (`git update-index --chmod=+x`) and check that it is made for this CPU."),
    Meaning("COMMAND_NOT_FOUND", _USER, _NO, "A command was not found.",
            "Add the tool to the project's dependencies, and check the spelling and line ends of the script."),
    Meaning("PROCESS_ABORTED", _USER, _NO, "The build aborted itself, in Node.js mostly because its heap is full.",
            "Set a larger `memory` for the project, or raise the heap with NODE_OPTIONS=--max-old-space-size."),
    Meaning("PROCESS_CRASHED", _USER, _NO, "The build crashed.",
            "Look for a native module made for another CPU or Node.js version, and install it afresh."),
    Meaning("PROCESS_KILLED", _USER, _NO, "The container was killed, and nothing says by whom.",
            "Memory is the usual cause: set a larger `memory` for the project, or raise BuildMemory."),
    Meaning("TERMINATED", _PLATFORM, _NO, "The container was told to stop, and nothing says by whom.",
            "Start the build again; if it happens again, look for StopTask in CloudTrail."),
    Meaning("RESULT_MISSING", _PLATFORM, _NO, "The builder ended well but left no valid result.",
            "Start the build again; if it happens again, check that nothing deletes from the bucket."),
    Meaning("EXIT_CODE_MISSING", _PLATFORM, _NO, "The container ended, and ECS does not know its exit code.",
            "Start the build again, and look in the log how far it came."),
    Meaning("TASK_LOST", _PLATFORM, _NEW, "The task is gone and left neither exit code nor reason.", _AGAIN),
    Meaning("UNCLASSIFIED", _PLATFORM, _NO, "The build ended for a reason that is not known here.",
            "Read the evidence, start the build again, and report the text so that it gets a rule."),
    # Who stopped the task.
    Meaning("SPOT_INTERRUPTED", _PLATFORM, _NEW, "AWS took the Spot capacity of this build back.",
            "Nothing to do: the build is tried again on demand; lower SpotShare if it happens too often."),
    Meaning("HOST_LOST", _PLATFORM, _NEW, "The machine under the build went away.", _AGAIN),
    Meaning("HOST_MAINTENANCE", _PLATFORM, _NEW, "AWS took the machine under the build out for maintenance.", _AGAIN),
    Meaning("HOST_DEREGISTERED", _CONFIG, _NEW, "The machine under the build was removed from the cluster by hand.",
            "Drain a container instance before it is deregistered."),
    Meaning("HOST_UNREACHABLE", _PLATFORM, _NEW, "The container agent of the machine is disconnected.", _AGAIN),
    Meaning("STOPPED_OUTSIDE", _USER, _NO, "Somebody stopped the task without asking Tidegate.",
            "Start the build again, and cancel builds with POST /v1/builds/{id}/cancel."),
    Meaning("SCHEDULER_STOPPED", _CONFIG, _NO, "A service's scheduler stopped the task.",
            "Do not run the builder's task definition as an ECS service."),
    Meaning("HEALTH_CHECK_FAILED", _USER, _NO, "The task failed a health check.",
            "Remove the health check or target group, or correct its command, port and grace period."),
    # The builder's image.
    Meaning("IMAGE_NOT_FOUND", _CONFIG, _NO, "The builder's image does not exist or is private.",
            "Push the image to the stack's repository and set BuilderImage to it; no lifecycle rule may remove it."),
    Meaning("IMAGE_ACCESS_DENIED", _CONFIG, _NO, "The task may not pull the builder's image.",
            "Attach AmazonECSTaskExecutionRolePolicy to the execution role, and check the repository's policy."),
    Meaning("IMAGE_REGISTRY_UNREACHABLE", _CONFIG, _NEW, "The task has no network path to the image registry.", _ROUTE),
    Meaning("IMAGE_REGISTRY_ERROR", _PLATFORM, _NEW, "The image registry broke the download off.",
            "Nothing to do: the build is tried again; if it stays, check the S3 endpoint's policy."),
    Meaning("IMAGE_RATE_LIMITED", _PLATFORM, _NEW, "The image registry allows no more pulls for now.",
            "Keep the builder's image in ECR, or use a pull-through cache."),
    Meaning("IMAGE_TOO_LARGE", _CONFIG, _NO, "The builder's image does not fit on the task's disk.",
            "Make the image smaller, or raise BuildStorage (21 to 200 GiB)."),
    Meaning("IMAGE_WRONG_PLATFORM", _CONFIG, _NO, "The builder's image is made for another CPU or system.",
            "Build the image for BuilderArchitecture, or set BuilderArchitecture to what the image is made for."),
    Meaning("IMAGE_INVALID", _CONFIG, _NO, "The builder's image is no container image, or its name is malformed.",
            "Set BuilderImage to the tag (`:1.2`) or digest (`@sha256:...`) of a container image."),
    Meaning("IMAGE_PULL_CANCELED", _CONFIG, _NO, "The pull of the builder's image was broken off.",
            "Look for StopTask in CloudTrail; without one, check the route from SubnetIds to the registry."),
    Meaning("IMAGE_PULL_FAILED", _CONFIG, _NEW, "The builder's image could not be pulled.",
            "Check BuilderImage, the execution role, and the route from SubnetIds to the registry."),
    # What a task needs before its container starts.
    Meaning("SECRET_NOT_FOUND", _USER, _NO, "A secret or a key of it does not exist.",
            "Create the secret or parameter with the name and JSON key the task definition reads."),
    Meaning("SECRET_ACCESS_DENIED", _CONFIG, _NO, "The execution role may not read a secret.",
            "Allow the role secretsmanager:GetSecretValue or ssm:GetParameters on it, and kms:Decrypt on its key."),
    Meaning("SERVICE_UNREACHABLE", _CONFIG, _NEW, "The task has no network path to an AWS service it needs.", _ROUTE),
    Meaning("ENV_FILE_UNAVAILABLE", _CONFIG, _NO, "An environment file could not be downloaded.",
            "Upload the file that the task definition names, and allow the execution role s3:GetObject on it."),
    Meaning("LOG_GROUP_MISSING", _CONFIG, _NO, "The log group of the builder does not exist.", _DEPLOY),
    Meaning("LOG_SETUP_INVALID", _CONFIG, _NO, "The log driver could not be set up.",
            "Correct logConfiguration of the task definition, and allow the execution role logs:CreateLogStream."),
    Meaning("VOLUME_MOUNT_FAILED", _CONFIG, _NEW, "A volume could not be mounted.",
            "Check the file system's mount targets and that its security group lets NFS in from the tasks."),
    Meaning("ENTRYPOINT_INVALID", _CONFIG, _NO, "The container's entry point is missing or cannot be executed.",
            "Correct ENTRYPOINT and CMD of the builder's image, or the command of the task definition."),
    Meaning("RESOURCE_INITIALIZATION_FAILED", _PLATFORM, _NEW, "ECS could not prepare what the task needs.",
            "Nothing to do: the build is tried again; if it stays, check SubnetIds, secrets and the execution role."),
    Meaning("START_THROTTLED", _PLATFORM, _NEW, "Too many tasks started at once, and AWS slowed this one down.",
            "Nothing to do: the build is tried again; lower MaxConcurrentBuilds if it happens often."),
    Meaning("ROLE_NOT_ASSUMABLE", _CONFIG, _NEW, "ECS cannot assume a role of the task.",
            "Let the role's trust policy name ecs-tasks.amazonaws.com; a new role needs some seconds."),
    # Network, capacity, placement.
    Meaning("NETWORK_SETUP_FAILED", _PLATFORM, _NEW, "AWS could not set up the task's network interface.", _AGAIN),
    Meaning("STORAGE_SETUP_FAILED", _PLATFORM, _NEW, "AWS could not set up the task's disk.", _AGAIN),
    Meaning("PLATFORM_ERROR", _PLATFORM, _NEW, "AWS had an internal error.", _AGAIN),
    Meaning("SUBNET_FULL", _CONFIG, _WAIT, "The subnet has no free addresses.",
            "Add larger or more subnets to SubnetIds, or lower MaxConcurrentBuilds."),
    Meaning("TAG_POLICY_VIOLATED", _CONFIG, _NO, "The organization's tag policy refuses the task's tags.",
            "Give the stack the tags that the policy asks for."),
    Meaning("SERVICE_ROLE_INVALID", _CONFIG, _NO, "ECS has lost its right to use EC2 in this account.",
            "Create the role again: aws iam create-service-linked-role --aws-service-name ecs.amazonaws.com."),
    Meaning("CAPACITY_UNAVAILABLE", _PLATFORM, _WAIT, "AWS has no capacity for the task now.",
            "The build waits by itself; SubnetIds in more availability zones make this rare."),
    Meaning("SPOT_UNAVAILABLE", _PLATFORM, _NEW, "AWS has no Spot capacity now.",
            "Nothing to do: the build is tried again on demand; lower SpotShare if it happens often."),
    Meaning("QUOTA_REACHED", _PLATFORM, _WAIT, "The account runs as many tasks or vCPUs as its quota allows.",
            "The build waits by itself; ask for a higher Fargate quota or lower MaxConcurrentBuilds."),
    Meaning("PLACEMENT_IMPOSSIBLE", _CONFIG, _NO, "The cluster has no place where such a task may run.",
            "Use FARGATE or FARGATE_SPOT, or give the cluster instances that meet the placement constraints."),
    Meaning("SERVICE_DISCOVERY_FAILED", _CONFIG, _NEW, "The task could not be registered in Cloud Map.",
            "Check the Cloud Map namespace, or remove service discovery: a build needs none."),
    # The container runtime.
    Meaning("CONTAINER_RUNTIME_FAILED", _PLATFORM, _NEW, "The container runtime of the machine failed.", _AGAIN),
    Meaning("CONTAINER_STOP_FAILED", _PLATFORM, _NO, "The container could not be stopped in order.",
            "Start the build again."),
    Meaning("CONTAINER_SETUP_INVALID", _CONFIG, _NO, "The container cannot be made as the task definition says.",
            "Correct user, entry point, volumes and network mode in the task definition and the builder's image."),
    Meaning("DEPENDENCY_FAILED", _USER, _NO, "Another container that the builder waits for failed.",
            "Read that container's log, and correct or remove it from the task definition."),
    # RunTask.
    Meaning("THROTTLED", _PLATFORM, _SAME, "AWS asks to start tasks more slowly.",
            "Nothing to do: the same request is sent again; lower MaxConcurrentBuilds if it happens often."),
    Meaning("START_UNCERTAIN", _PLATFORM, _SAME, "AWS did not say whether the task was started.",
            "Nothing to do: the same request is sent again, and cannot start a second task."),
    Meaning("TASK_NOT_VISIBLE", _PLATFORM, _SAME, "ECS does not know the task, or not yet.",
            "Nothing to do: ECS is asked again."),
    Meaning("SIZE_INVALID", _USER, _NO, "Fargate has no task of this size.",
            "Set `cpu` and `memory` of the project to a pair that Fargate offers, such as 1024 and 2048."),
    Meaning("SETTINGS_TOO_LARGE", _USER, _NO, "The build's settings are larger than ECS accepts.",
            "Shorten the git URL and the settings of the project."),
    Meaning("NETWORK_CONFIG_INVALID", _CONFIG, _NO, "The subnets or security groups of the stack cannot be used.",
            "Set VpcId and SubnetIds to ones that exist and belong together, and deploy the stack again."),
    Meaning("TASK_DEFINITION_INVALID", _CONFIG, _NO, "The task definition does not fit this request.", _DEPLOY),
    Meaning("TASK_DEFINITION_MISSING", _CONFIG, _NO, "The task definition does not exist or is inactive.", _DEPLOY),
    Meaning("CLUSTER_NOT_FOUND", _CONFIG, _NO, "The cluster does not exist in this region.", _DEPLOY),
    Meaning("ACCESS_DENIED", _CONFIG, _NO, "The controller may not start tasks.",
            "Allow the function's role ecs:RunTask on the task definition's ARN with :* for its revisions."),
    Meaning("PASS_ROLE_DENIED", _CONFIG, _NO, "The controller may not hand the task its roles.",
            "Allow the function's role iam:PassRole on both task roles, for ecs-tasks.amazonaws.com."),
    Meaning("TOKEN_CONFLICT", _CONFIG, _NO, "The same attempt was started before with other parameters.",
            "Start the build again, and report it: this is a fault of Tidegate."),
    Meaning("PLATFORM_VERSION_INVALID", _CONFIG, _NO, "The Fargate platform version does not fit the task.",
            "Use the platform version LATEST."),
    Meaning("FEATURE_UNSUPPORTED", _CONFIG, _NO, "This region does not offer a feature that the task uses.",
            "Use another region, or switch the feature off in the template."),
    Meaning("ACCOUNT_BLOCKED", _PLATFORM, _NO, "AWS has blocked the account.", "Ask AWS Support to unblock it."),
    Meaning("REQUEST_REFUSED", _CONFIG, _NO, "ECS refused the request to start the task.",
            "Read the evidence, compare it with the stack's parameters, and deploy the stack again."),
    # Canceled, and what took too long.
    Meaning("CANCELED", _USER, _NO, "The build was canceled.", "Start a new build when you want one."),
    Meaning("SUPERSEDED", _USER, _NO, "A newer build of the same project and ref took this one's place in the queue.",
            "Look at the newer build."),
    Meaning("WAIT_TIMED_OUT", _CONFIG, _NO, "The build waited too long to be started.",
            "Raise MaxConcurrentBuilds or the account's Fargate quota, then start the build again."),
    Meaning("START_TIMED_OUT", _PLATFORM, _NO, "The build's task did not start in time.",
            "Start the build again; if it happens again, check the route from SubnetIds to the image registry."),
    Meaning("PUBLISH_TIMED_OUT", _PLATFORM, _NO, "The site was built but could not be published in time.",
            "Start the build again; the operator finds the cause in the functions' logs."),
)  # fmt: skip
FAILURES = {meaning.code: meaning for meaning in _MEANINGS}
