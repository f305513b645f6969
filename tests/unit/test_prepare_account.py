"""The service-linked role of ECS: made once, and left alone where it is."""

from types import SimpleNamespace

import boto3
import pytest

from scripts import prepare_account
from tests.fakes import client_error


def iam(error: Exception | None, asked: list[str]) -> SimpleNamespace:
    def create_service_linked_role(*, AWSServiceName: str) -> None:  # noqa: N803 - boto3's name
        asked.append(AWSServiceName)
        if error:
            raise error

    return SimpleNamespace(create_service_linked_role=create_service_linked_role)


TAKEN = "Service role name AWSServiceRoleForECS has been taken in this account, please try a different suffix."


@pytest.mark.parametrize("error", [None, client_error("InvalidInput", TAKEN, "CreateServiceLinkedRole")])
def test_role_is_there_afterwards(error: Exception | None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(boto3, "client", lambda name: iam(error, asked))
    prepare_account.main()
    assert asked == ["ecs.amazonaws.com"]


@pytest.mark.parametrize("code", ["AccessDenied", "InvalidInput"])
def test_other_errors_are_told(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    error = client_error(code, "No.", "CreateServiceLinkedRole")
    monkeypatch.setattr(boto3, "client", lambda name: iam(error, []))
    with pytest.raises(type(error), match="No"):
        prepare_account.main()
