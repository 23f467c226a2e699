"""What a provider's refusals mean to us. Its words stay behind: they may quote the prompt."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import openai
from langchain_core.exceptions import ContextOverflowError

from domain.errors import (
    ContextTooLong,
    MoorageError,
    ProviderAuth,
    ProviderMalformed,
    ProviderRateLimited,
    ProviderRefused,
    ProviderUnavailable,
)

LONGEST_WAIT = timedelta(days=1)

TOO_LONG = {"context_length_exceeded", "exceed_context_size_error", "max_tokens_per_request"}
OUT_OF_CREDIT = {"insufficient_quota", "billing_hard_limit_reached"}
LIMITING = {"rate_limit_exceeded", "429"}
OUR_KEY = {"invalid_api_key", "401", "403"}
REFUSING = {"content_filter", "content_policy_violation", "400", "404", "422"}

# What malformed replies raise inside the SDK and langchain: bad JSON or too deep, fields missing or of another type.
UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, RecursionError)


@contextmanager
def translated() -> Iterator[None]:
    """Vendor exceptions become ours, without cause or context: those would carry the vendor's words along."""
    try:
        yield
    except openai.APIError as error:
        raise meaning(error) from None
    except TimeoutError:
        raise ProviderUnavailable("timeout: the model provider was silent for too long.") from None
    except openai.OpenAIError:
        raise ProviderUnavailable from None
    except UNREADABLE as error:
        raise ProviderMalformed(f"{type(error).__name__}: the model provider's reply could not be read.") from None


def meaning(error: openai.APIError) -> MoorageError:
    """The domain's name for a vendor's error. Codes and statuses decide, never the text."""
    if isinstance(error.__cause__, MoorageError):  # raised by us while the SDK was reading
        return error.__cause__
    names = {error.code, error.type} - {None}
    if isinstance(error, ContextOverflowError) or names & TOO_LONG:
        return ContextTooLong()
    if names & OUT_OF_CREDIT:  # a 429 that no waiting mends, and no caller: only the operator can
        return ProviderAuth("insufficient_quota: the operator must add credit to the model provider's account.")
    if isinstance(error, openai.APIStatusError):
        return _by_status(error.status_code, error)
    if isinstance(error, openai.APIConnectionError):  # time-outs too
        return ProviderUnavailable()
    if isinstance(error, openai.APIResponseValidationError):
        return ProviderMalformed()
    return _in_stream({str(name) for name in names})


def _by_status(status: int, error: openai.APIStatusError) -> MoorageError:
    detail = f"{status} from the model provider."
    if status in (401, 403):
        return ProviderAuth(f"{detail} {ProviderAuth.detail}")
    if status == 429:
        return ProviderRateLimited(detail, retry_after=retry_after(error))
    if status >= 500 or status in (408, 409, 425):
        return ProviderUnavailable(detail, retry_after=retry_after(error))
    if status == 413:
        return ContextTooLong(detail)
    if status in (301, 302, 303, 307, 308, 404):
        return ProviderRefused(f"{detail} The operator must check the model's address and name.")
    return ProviderRefused(detail)


def _in_stream(names: set[str]) -> MoorageError:
    """An error event after the reply had begun; unknown ones are the provider's own trouble."""
    if names & LIMITING:
        return ProviderRateLimited()
    if names & OUR_KEY:
        return ProviderAuth()
    return ProviderRefused() if names & REFUSING else ProviderUnavailable()


def retry_after(error: openai.APIStatusError, now: datetime | None = None) -> timedelta | None:
    """`retry-after-ms`, else `Retry-After` as seconds or as a date; at most a day, None when it says nothing usable."""
    headers = error.response.headers
    try:
        if "retry-after-ms" in headers:
            return _wait(float(headers["retry-after-ms"]) / 1000)
        return _wait(_seconds(headers.get("retry-after", ""), now or datetime.now(UTC)))
    except (ValueError, TypeError):  # neither a number nor a date, or a date without a zone
        return None


def _seconds(text: str, now: datetime) -> float:
    if text.replace(".", "", 1).isdecimal():
        return float(text)
    return (parsedate_to_datetime(text) - now).total_seconds()


def _wait(seconds: float) -> timedelta | None:
    if not math.isfinite(seconds) or seconds < 0:
        return None
    return timedelta(seconds=min(seconds, LONGEST_WAIT.total_seconds()))
