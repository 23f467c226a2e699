"""Everything that can go wrong, as a tree; the class name is the explanation.

MoorageError
├── Permanent                 trying again changes nothing
│   ├── Refused               the caller must change the request
│   │   ├── MalformedRequest TypeMismatch NotAcceptable
│   │   ├── Unauthenticated (InvalidCredentials TokenExpired TokenRevoked)
│   │   ├── Forbidden (AccountDisabled RegistrationClosed InvalidInvite)
│   │   ├── NotFound
│   │   ├── Conflict (UsernameTaken IdempotencyKeyReused DuplicateDocument RunFinished NoModel)
│   │   ├── FileTooLarge BodyTooLarge UnsupportedType
│   │   ├── InvalidRequest (UnknownModel EmptyFile)
│   │   └── QuotaExhausted RateLimited LoginThrottled
│   ├── BadDocument           the bytes themselves: CorruptFile PasswordProtected NoText TooManyPages ResourceLimit
│   ├── ProviderAuth ProviderRefused ProviderMalformed ContextTooLong
│   ├── DimensionMismatch StorageExhausted Terminated
│   └── Internal
└── Temporary                 worth another try, maybe after `retry_after`
    ├── ProviderRateLimited ProviderUnavailable
    ├── DependencyUnavailable (Overloaded StoreUnavailable DatabaseUnavailable BlobsUnavailable RedisUnavailable
    │                          TemporalUnavailable)
    ├── EarlierTurnOpen
    └── DeadlineExceeded

`code` is what a caller sees and branches on; it never changes. Messages hold codes and ids, never content:
they are logged and recorded in workflow histories.
"""

from datetime import timedelta


class MoorageError(Exception):
    """`detail` says what happened and what to do about it, without quoting anyone's content."""

    code = "internal"
    title = "Something went wrong on our side"
    detail = "Try again; if it stays, give the request id to the operator."

    def __init__(self, detail: str | None = None, *, retry_after: timedelta | None = None) -> None:
        super().__init__(self.code if detail is None else detail)
        if detail is not None:
            self.detail = detail
        self.retry_after = retry_after
        self.run: str | None = None  # the workflow id, when a run was admitted before this happened


class Permanent(MoorageError):
    """Trying again changes nothing."""


class Temporary(MoorageError):
    """Worth another try."""


class Refused(Permanent):
    """The caller must change the request."""


class MalformedRequest(Refused):
    code, title = "malformed_request", "The request could not be read"
    detail = "Send a well-formed body of the documented content type."


class TypeMismatch(Refused):
    code, title = "type_mismatch", "The content contradicts the file's name"
    detail = "Give the file the extension of what it really holds."


class NotAcceptable(Refused):
    code, title = "not_acceptable", "No representation fits the Accept header"
    detail = "Accept application/json."


class Unauthenticated(Refused):
    code, title = "unauthenticated", "No valid credentials"
    detail = "Send `Authorization: Bearer <access token>`; log in to get one."


class InvalidCredentials(Unauthenticated):
    code, title = "invalid_credentials", "Wrong username or password"
    detail = "Check both; usernames are not case-sensitive, passwords are."


class TokenExpired(Unauthenticated):
    code, title = "token_expired", "The access token has expired"
    detail = "Refresh it, or log in again."


class TokenRevoked(Unauthenticated):
    code, title = "token_revoked", "The token is no longer valid"
    detail = "This log-in has ended; log in again."


class Forbidden(Refused):
    code, title = "forbidden", "Not allowed"
    detail = "This needs another role."


class AccountDisabled(Forbidden):
    code, title = "account_disabled", "The account is disabled"
    detail = "Ask an owner of your tenant."


class RegistrationClosed(Forbidden):
    title = "Registration is closed"
    detail = "Ask the operator for an account (MOORAGE_REGISTRATION)."


class InvalidInvite(Forbidden):
    """One answer for unknown, used and expired ones, so that nothing can be learned by trying."""

    title = "The invite is not valid"
    detail = "It may have been used or have expired; ask an owner of the tenant for a new one."


class NotFound(Refused):
    code, title = "not_found", "No such thing"
    detail = "It does not exist, or it is not yours."


class Conflict(Refused):
    code, title = "conflict", "The request contradicts the present state"
    detail = "Read the present state and decide again."


class UsernameTaken(Conflict):
    code, title = "username_taken", "The username is taken"
    detail = "Choose another username."


class IdempotencyKeyReused(Conflict):
    code, title = "idempotency_key_reused", "The Idempotency-Key belongs to another request"
    detail = "Use a new key for a new request; repeat a request with its own key and an unchanged body."


class DuplicateDocument(Conflict):
    code, title = "duplicate_document", "The collection already holds this content"
    detail = "Use the existing document, or upload with on_duplicate=new."


class RunFinished(Conflict):
    code, title = "run_finished", "The run has already finished"
    detail = "Nothing is left to be done in it."


class NoModel(Conflict):
    code, title = "no_model", "No language model is configured"
    detail = "Set OPENAI_API_KEY, OPENAI_BASE_URL or MOORAGE_MODELS, or ask with use_rag=true: answers are then quotes."


class FileTooLarge(Refused):
    code, title = "file_too_large", "The file is too large"
    detail = "Split the file, or ask the operator to raise MOORAGE_MAX_UPLOAD_BYTES."


class BodyTooLarge(Refused):
    code, title = "body_too_large", "The request body is too large"
    detail = "Send a smaller body."


class UnsupportedType(Refused):
    code, title = "unsupported_type", "This type of file is not supported"
    detail = "Upload PDF, TXT or Markdown."


class InvalidRequest(Refused):
    code, title = "invalid_request", "The request is not valid"
    detail = "See `errors` for the fields and what they need."


class UnknownModel(InvalidRequest):
    code, title = "unknown_model", "No such model"
    detail = "GET /api/v1/models lists what can be asked for; leave `model` out for the default."


class EmptyFile(InvalidRequest):
    code, title = "empty_file", "The file is empty"
    detail = "Upload a file with content."


class QuotaExhausted(Refused):
    code, title = "quota_exhausted", "The token budget of this month does not cover this request"
    detail = (
        "Wait for next month or for running turns to end, ask with a smaller max_tokens, or ask for a larger budget."
    )


class LoginThrottled(Refused):
    code, title = "login_throttled", "Too many attempts to log in"
    detail = "Wait for as long as `Retry-After` says, then try again."


class RateLimited(Refused):
    code, title = "rate_limited", "Too many requests"
    detail = "Wait as long as Retry-After says; RateLimit-Remaining tells how many are left."


class BadDocument(Permanent):
    """The bytes themselves cannot be used."""


class CorruptFile(BadDocument):
    code, title = "corrupt_file", "The file is damaged"
    detail = "Open it in its own program, save it again and upload the result."


class PasswordProtected(BadDocument):
    code, title = "password_protected", "The file needs a password"
    detail = "Save a copy without a password and upload that."


class NoText(BadDocument):
    code, title = "no_text", "The file holds no text"
    detail = "Scanned pages need text recognition before the upload."


class TooManyPages(BadDocument):
    code, title = "too_many_pages", "The document has too many pages"
    detail = "Split it and upload the parts."


class ResourceLimit(BadDocument):
    code, title = "resource_limit", "Reading the file took more memory or time than one document may"
    detail = "Save it again in its own program, or split it."


class ProviderAuth(Permanent):
    code, title = "provider_auth", "The model provider refused our credentials"
    detail = "The operator must check the model's key and address (OPENAI_* or MOORAGE_MODELS)."


class ProviderRefused(Permanent):
    code, title = "provider_refused", "The model provider refused the request"
    detail = "Change the request; the provider's content rules or limits apply."


class ProviderMalformed(Permanent):
    code, title = "provider_malformed", "The model provider's reply could not be understood"
    detail = "The operator must check that the model's address speaks the OpenAI protocol."


class ContextTooLong(Permanent):
    code, title = "context_too_long", "The request exceeds the model's context"
    detail = "Ask a shorter question, with a smaller k or max_tokens, or start a new conversation."


class DimensionMismatch(Permanent):
    code, title = "dimension_mismatch", "The collection was indexed with another embedding model"
    detail = "Configure the embedding model that the collection was made with."


class StorageExhausted(Permanent):
    code, title = "storage_exhausted", "The disk is full"
    detail = "The operator must free space."


class Internal(Permanent):
    """A fault of ours that no retry mends."""


class Terminated(Permanent):
    code, title = "terminated", "An operator ended the run by hand"
    detail = "Replay it, or ask again."


class ProviderRateLimited(Temporary):
    code, title = "provider_rate_limited", "The model provider is limiting our rate"
    detail = "Try again later."


class ProviderUnavailable(Temporary):
    code, title = "provider_unavailable", "The model provider does not answer"
    detail = "Try again later; the operator should check the model's address (OPENAI_BASE_URL or MOORAGE_MODELS)."


class DependencyUnavailable(Temporary):
    """A store does not answer; over HTTP all of them are `dependency_unavailable`."""

    code, title = "dependency_unavailable", "A part of the platform does not answer"
    detail = "Try again in a moment; /readyz names the part."


class Overloaded(DependencyUnavailable):
    title = "More is asked than can be answered at this moment"
    detail = "Nothing was stored and nothing is charged: ask again later, as `Retry-After` says."


class StoreUnavailable(DependencyUnavailable):
    code, title = "store_unavailable", "The search index does not answer"


class DatabaseUnavailable(DependencyUnavailable):
    title = "The database does not answer"


class BlobsUnavailable(DependencyUnavailable):
    title = "The blob store does not answer"


class RedisUnavailable(DependencyUnavailable):
    title = "Redis does not answer"


class TemporalUnavailable(DependencyUnavailable):
    title = "Temporal does not answer"
    detail = "Your request is stored and will be started; follow `run`, or repeat it with the same Idempotency-Key."


class EarlierTurnOpen(Temporary):
    """Turns of one conversation are answered in order; this one waits for the one before it."""

    code, title = "deadline_exceeded", "An earlier turn of the conversation has no outcome yet"
    detail = "Cancel the earlier turn or wait for it."


class DeadlineExceeded(Temporary):
    code, title = "deadline_exceeded", "It took longer than allowed"
    detail = "Try again."


def _all(cls: type[MoorageError]) -> list[type[MoorageError]]:
    return [cls, *(found for child in cls.__subclasses__() for found in _all(child))]


def by_code(code: str) -> type[MoorageError]:
    """The most general class with this code: what a stored code is shown as. Unknown codes are `internal`."""
    return next((cls for cls in _all(MoorageError) if cls.code == code), MoorageError)
