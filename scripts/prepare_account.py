"""Make the role that ECS itself needs in an account: the first cluster of an account fails without it.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/using-service-linked-roles.html
"""

import boto3
from botocore.exceptions import ClientError


def main() -> None:
    """Make the role; that it is there already is fine."""
    try:
        boto3.client("iam").create_service_linked_role(AWSServiceName="ecs.amazonaws.com")
    except ClientError as error:
        if error.response["Error"]["Code"] != "InvalidInput" or "has been taken" not in str(error):
            raise


if __name__ == "__main__":
    main()
