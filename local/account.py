"""Where the local stack's resources are: moto's account, in the region it knows best."""

ACCOUNT = "123456789012"
REGION = "us-east-1"
