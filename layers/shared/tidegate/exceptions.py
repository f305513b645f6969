"""The rules a request can break; each knows its HTTP status and its code."""

from typing import ClassVar

from msgspec import Struct


class FieldError(Struct, frozen=True):
    """One thing wrong with one field; `field` is its path in the body, or the name of a parameter."""

    field: str
    message: str


class Problem(Exception):
    """A request that cannot be done, told to the client as RFC 9457 problem details."""

    status: ClassVar[int] = 500
    code: str = "INTERNAL"
    title: ClassVar[str] = "Something went wrong on our side"

    def __init__(self, detail: str = "", errors: tuple[FieldError, ...] = ()) -> None:
        told = "; ".join(f"{error.field} {error.message}" for error in errors[:3])
        self.detail = detail or told or self.title
        self.errors = errors
        super().__init__(self.detail)


class InvalidRequest(Problem):
    """The input is readable, but fields of it are wrong."""

    status, code, title = 400, "INVALID_REQUEST", "The request is not valid"


class MalformedBody(Problem):
    """The body is not a JSON object."""

    status, code, title = 400, "MALFORMED_BODY", "The body is not a JSON object"


class UnsupportedMediaType(Problem):
    """The body is not declared as JSON."""

    status, code, title = 415, "UNSUPPORTED_MEDIA_TYPE", "The body must be sent as application/json"


class BodyTooLarge(Problem):
    """The body is larger than any valid request."""

    status, code, title = 413, "BODY_TOO_LARGE", "The body is too large"


class NotFound(Problem):
    """There is no such project, build or path."""

    status, code, title = 404, "NOT_FOUND", "Not found"


class MethodNotAllowed(Problem):
    """The path is there, for the methods in `allow`."""

    status, code, title = 405, "METHOD_NOT_ALLOWED", "Method not allowed"

    def __init__(self, allow: str) -> None:
        super().__init__(f"This address answers to {allow}")
        self.allow = allow


class SlugTaken(Problem):
    """The slug names a project of another repository."""

    status, code, title = 409, "SLUG_TAKEN", "The slug is taken by another repository"


class KeyReused(Problem):
    """The idempotency key stands for another request."""

    status, code, title = 422, "IDEMPOTENCY_KEY_REUSED", "The Idempotency-Key was used for another request"


class KeyInUse(Problem):
    """The first request with this idempotency key is not done yet."""

    status, code, title = 409, "IDEMPOTENCY_KEY_IN_USE", "The first request with this Idempotency-Key is still running"


class TooLate(Problem):
    """The build can no longer be canceled."""

    status, code, title = 409, "TOO_LATE", "The build can no longer be canceled"


class UnknownAction(Problem):
    """A viewer's message asks for something that there is not."""

    status, code, title = 400, "UNKNOWN_ACTION", "The action is not known"


class TooManySubscriptions(Problem):
    """The connection follows as many builds as one may."""

    status, code, title = 409, "TOO_MANY_SUBSCRIPTIONS", "The connection follows too many builds"


class NotStarted(Problem):
    """The build was accepted, but its task could not be started; the build has ended and says why."""

    status, code, title = 503, "NOT_STARTED", "The build could not be started"

    def __init__(self, code: str, detail: str, build_id: str) -> None:
        super().__init__(detail)
        self.code = code
        self.build_id = build_id


class Unavailable(Problem):
    """AWS did not answer as needed; the same request may work later."""

    status, code, title = 503, "UNAVAILABLE", "Not available at the moment"
