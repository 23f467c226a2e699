"""The boundary of every activity: a code for Temporal to act on, and log lines that know their run."""

from typing import Any

import structlog
from structlog.contextvars import bound_contextvars
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from agents import chat, documents
from agents.options import FAULTS
from domain import names
from domain.errors import Internal, MoorageError, Permanent, Temporary

_log = structlog.get_logger()


class Boundary(Interceptor):
    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _ActivityBoundary(next)


class _ActivityBoundary(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info = activity.info()
        facts = {
            "run": info.workflow_id,
            "tenant": names.tenant_of(info.workflow_id or ""),
            "activity": info.activity_type,
            "attempt": info.attempt,
        }
        with bound_contextvars(**facts):
            try:
                return await self.next.execute_activity(input)
            except MoorageError as error:
                raise _application_error(error) from None  # a cause would record the vendor's words
            except ApplicationError:
                raise
            except Exception as error:
                raise _unexpected(error, gives_up=info.attempt >= FAULTS and is_node(info.activity_type)) from None


def _application_error(error: MoorageError) -> ApplicationError:
    temporary = isinstance(error, Temporary)
    return ApplicationError(
        error.code,
        type=type(error).__name__,
        non_retryable=isinstance(error, Permanent),
        next_retry_delay=error.retry_after,
        category=ApplicationErrorCategory.BENIGN if temporary else ApplicationErrorCategory.UNSPECIFIED,
    )


def _unexpected(error: Exception, *, gives_up: bool) -> ApplicationError:
    """A fault of ours: logged here with its trace, recorded by class name only."""
    _log.error("activity_fault", error=type(error).__name__, exc_info=error)
    return ApplicationError(Internal.code, type=type(error).__name__, non_retryable=gives_up)


def is_node(activity_type: str) -> bool:
    """A step of a graph; what reports and settles is tried for ever."""
    return activity_type.partition(".")[0] in (chat.NAME, chat.FIRST_NAME, documents.NAME)
