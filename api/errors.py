"""Domain error to HTTP: one table, one shape (problem+json), nothing of ours or anyone's inside."""

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from api.schemas.body import FieldError, Problem
from domain import errors
from domain.errors import MoorageError, by_code

STATUS: dict[type[MoorageError], int] = {
    errors.MalformedRequest: 400,
    errors.TypeMismatch: 400,
    errors.NotAcceptable: 406,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.FileTooLarge: 413,
    errors.BodyTooLarge: 413,
    errors.UnsupportedType: 415,
    errors.InvalidRequest: 422,
    errors.QuotaExhausted: 429,
    errors.LoginThrottled: 429,
    errors.RateLimited: 429,
    errors.BadDocument: 422,
    errors.ProviderRefused: 422,
    errors.ContextTooLong: 422,
    errors.DimensionMismatch: 409,
    errors.Terminated: 409,
    errors.StorageExhausted: 507,
    errors.ProviderAuth: 503,
    errors.ProviderMalformed: 503,
    errors.EarlierTurnOpen: 504,
    errors.DeadlineExceeded: 504,
    errors.Temporary: 503,
    errors.MoorageError: 500,
}

# What the framework raises by itself, before any of our code runs.
FRAMEWORK: dict[int, tuple[str, str, str]] = {
    400: ("malformed_request", "The request could not be read", "Send a well-formed request."),
    404: ("not_found", "No such path", "Check the path."),
    405: ("method_not_allowed", "This path does not take that method", "See the header Allow."),
    413: (errors.BodyTooLarge.code, errors.BodyTooLarge.title, errors.BodyTooLarge.detail),
}

LONGEST_ECHO = 200

_log = structlog.get_logger()


class Unreadable(HTTPException):
    """A MalformedRequest while FastAPI reads a body: it lets no other kind of exception pass."""

    def __init__(self, error: errors.MalformedRequest) -> None:
        super().__init__(status_of(type(error)))
        self.error = error


def status_of(error: type[MoorageError]) -> int:
    """The most specific entry of the table."""
    return next(STATUS[cls] for cls in error.__mro__ if cls in STATUS)


def problem(request: Request, error: MoorageError, status: int | None = None) -> JSONResponse:
    """`status` overrides the table for errors that ended a run rather than this request."""
    body = described(request, error, status)
    status = body.status
    response = JSONResponse(body.body(), status, media_type="application/problem+json")
    if error.run:
        response.headers["Location"] = f"/api/v1/runs/{error.run}"
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(max(1, round(error.retry_after.total_seconds())))
    elif status in (503, 504):
        response.headers["Retry-After"] = "2"
    return response


def described(request: Request, error: MoorageError, status: int | None = None) -> Problem:
    return Problem(
        title=error.title,
        status=status or status_of(type(error)),
        detail=error.detail,
        instance=shown(request.scope["path"]),
        code="dependency_unavailable" if isinstance(error, errors.DependencyUnavailable) else error.code,
        request_id=request_id(request),
        run=error.run,
    )


def ended(code: str, run: str) -> MoorageError:
    """A stored error code of a run as an error that can be shown."""
    error = by_code(code)()
    error.run = run
    return error


def shown(part: str | int) -> str | int:
    """What came from the caller, short and in a form that can always be rendered."""
    return part if isinstance(part, int) else part[:LONGEST_ECHO].encode(errors="replace").decode()


def request_id(request: Request) -> str:
    return str(request.scope.get("request_id", ""))


async def _moorage(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, MoorageError)
    if status_of(type(error)) >= 500:
        _log.warning("refused", code=error.code, error=type(error).__name__)
    return problem(request, error)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    """Where, what and which rule - never the input itself, which may not even be serialisable."""
    assert isinstance(error, RequestValidationError)
    found = [
        FieldError(loc=[shown(part) for part in one["loc"]], msg=shown(one["msg"]), type=one["type"])
        for one in error.errors()[:20]
    ]
    unreadable = any(one.type == "json_invalid" for one in found)
    cls = errors.MalformedRequest if unreadable else errors.InvalidRequest
    status = status_of(cls)
    body = Problem(
        title=cls.title,
        status=status,
        detail=cls.detail,
        instance=shown(request.scope["path"]),
        code=cls.code,
        request_id=request_id(request),
        errors=None if unreadable else found,
    )
    return JSONResponse(body.body(), status, media_type="application/problem+json")


async def _framework(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if isinstance(error, Unreadable):
        return problem(request, error.error)
    if error.status_code == 405:
        error.headers = {"Allow": ", ".join(_allowed(request))}
        if request.method == "OPTIONS":
            return Response(None, 204, error.headers)
    code, title, detail = FRAMEWORK.get(error.status_code, ("internal", "The request failed", "Try again."))
    body = Problem(
        title=title,
        status=error.status_code,
        detail=detail,
        instance=shown(request.scope["path"]),
        code=code,
        request_id=request_id(request),
    )
    return JSONResponse(body.body(), error.status_code, error.headers, media_type="application/problem+json")


def _allowed(request: Request) -> list[str]:
    """Of all routes with this path: the framework tells those of the first one only."""
    scope = request.scope

    def takes(method: str) -> bool:
        given = {**scope, "method": method}
        return any(route.matches(given)[0] is Match.FULL for route in request.app.router.routes)

    found = [method for method in ("GET", "POST", "PUT", "PATCH", "DELETE") if takes(method)]
    return [*found, *(["HEAD"] if "GET" in found else []), "OPTIONS"]


def install(app: FastAPI) -> None:
    app.add_exception_handler(MoorageError, _moorage)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _framework)
