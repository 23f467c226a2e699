"""What every route of ours does before its own code: count the call, look at Accept, read JSON strictly."""

from collections.abc import Callable, Coroutine
from typing import Any, get_args

from fastapi import APIRouter, Depends, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_dependant
from fastapi.routing import APIRoute

from api import strict_json
from api.deps import Caller
from api.errors import Unreadable
from api.rates import account_pace
from domain.errors import MalformedRequest, NotAcceptable

JSON = {"application/json", "application/problem+json"}
AUTHENTICATION = get_args(Caller)[1].dependency


class StrictRequest(Request):
    """Its bytes were counted on the way (`api.edge.BodyLimit`)."""

    async def json(self) -> Any:
        try:
            return strict_json.loads(await self.body())
        except MalformedRequest as error:
            raise Unreadable(error) from None


class StrictRoute(APIRoute):
    """A route that asks for a caller, however indirectly, counts against the caller's account."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        asked: list[Any] = list(options.get("dependencies") or [])
        calls = [endpoint, *(one.dependency for one in asked)]
        if any(_authenticates(get_dependant(path=path, call=call)) for call in calls):
            options["dependencies"] = [*asked, Depends(account_pace)]
        super().__init__(path, endpoint, **options)
        self._offers = JSON | {kind for answer in self.responses.values() for kind in answer.get("content", {})}

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def strictly(request: Request) -> Response:
            if self.response_field is not None and not _accepts(request.headers.getlist("accept"), self._offers):
                raise NotAcceptable
            return await handle(StrictRequest(request.scope, request.receive))

        return strictly


class Router(APIRouter):
    """The one kind of router that the application takes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(route_class=StrictRoute, **options)


def _authenticates(dependant: Dependant) -> bool:
    return dependant.call is AUTHENTICATION or any(map(_authenticates, dependant.dependencies))


def _accepts(given: list[str], offers: set[str]) -> bool:
    """Whether one of the offers is wanted at all; which one is the route's business."""
    wanted = [word.strip().lower() for word in ",".join(given).split(",") if word.strip()]
    return not wanted or any(_fits(word, offers) for word in wanted)


def _fits(word: str, offers: set[str]) -> bool:
    kind, *parameters = (piece.strip() for piece in word.split(";"))
    if any(parameter.startswith("q=") and not parameter[2:].strip("0.") for parameter in parameters):
        return False
    return kind == "*/*" or kind in offers or (kind.endswith("/*") and any(o.startswith(kind[:-1]) for o in offers))
