"""Why a run ended: Temporal's nested failures unfolded into our code and the step that gave up."""

from dataclasses import dataclass

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, FailureError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from domain.errors import BadDocument, RunFinished, by_code

AT_TIMEOUT = {"retrieve": "store_unavailable", "index": "store_unavailable", "parse": "resource_limit"}


@dataclass(frozen=True, slots=True)
class Failure:
    """`code` is one of domain.errors; `step` the node, or None when the workflow itself is at fault."""

    code: str
    step: str | None

    @property
    def final(self) -> bool:
        """Nothing that anybody does mends it: the bytes are to blame, or the run was closed meanwhile."""
        return self.closed or issubclass(by_code(self.code), BadDocument)

    @property
    def closed(self) -> bool:
        """The run's row had an outcome already."""
        return self.code == RunFinished.code

    def error(self) -> ApplicationError:
        """What the workflow fails with: a code, never the words of whoever caused it."""
        return ApplicationError(self.code, type=self.code, non_retryable=True)


def failure_of(error: BaseException) -> Failure:
    if not isinstance(error, ActivityError):
        return Failure("internal", None)
    step = error.activity_type.rpartition(".")[2]
    cause = _application_error(error)
    if cause is None:
        return Failure(AT_TIMEOUT.get(step, "deadline_exceeded"), step)
    return Failure(cause.message or "internal", step)


def cancelled(error: BaseException) -> bool:
    return is_cancelled_exception(error)


def _application_error(error: BaseException | None) -> ApplicationError | None:
    """The innermost word on the matter: a time-out may carry the last attempt's failure inside."""
    while isinstance(error, FailureError):
        if isinstance(error, ApplicationError):
            return error
        error = error.cause
    return None
