"""Which routes count against an account."""

from typing import Annotated

import pytest
from fastapi import Depends
from fastapi.routing import APIRoute

from api.deps import Caller
from api.rates import account_pace
from api.routing import AUTHENTICATION, Router
from domain.accounts import Principal


def owner(principal: Caller) -> Principal:
    return principal


async def directly(principal: Caller, item: str) -> None: ...


async def through_another(principal: Annotated[Principal, Depends(owner)]) -> None: ...


async def anonymous(item: str) -> None: ...


def paced(router: Router) -> bool:
    (route,) = router.routes
    assert isinstance(route, APIRoute)
    return [one.call for one in route.dependant.dependencies].count(account_pace) == 1


@pytest.mark.parametrize(("endpoint", "expected"), [(directly, True), (through_another, True), (anonymous, False)])
def test_a_route_that_asks_for_a_caller_counts_against_the_account(endpoint: object, expected: bool) -> None:
    router = Router()

    router.add_api_route("/{item}", endpoint)

    assert paced(router) is expected


def test_a_router_that_asks_for_a_caller_counts_too() -> None:
    router = Router(dependencies=[Depends(AUTHENTICATION)])

    router.add_api_route("/{item}", anonymous)

    assert paced(router)


def test_the_call_is_counted_before_the_route_s_other_dependencies() -> None:
    router = Router()

    router.add_api_route("/{item}", through_another)

    (route,) = router.routes
    assert isinstance(route, APIRoute)
    assert route.dependant.dependencies[0].call is account_pace
