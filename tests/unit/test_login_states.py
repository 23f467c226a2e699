"""What a process remembers of log-ins: for half a second, of a bounded number, and not what it was told to forget."""

import asyncio
from dataclasses import dataclass
from typing import Any, cast

import pytest

from domain.accounts import Account, LoginState, Principal, Role
from domain.errors import DatabaseUnavailable
from domain.names import new_id
from domain.ports import AccountRecords
from infra.login_states import RecentLoginStates
from infra.sql.database import utc_now


@dataclass
class Counted:
    """Records that count how often they are read."""

    reads: int = 0
    away: bool = False

    async def login_state(self, principal: Principal, family: str) -> LoginState:
        self.reads += 1
        if self.away:
            raise DatabaseUnavailable
        return LoginState(
            Account(principal.account, principal.tenant, "haruto", "h@example.org", Role.OWNER, 1, True, 0, utc_now())
        )


def over(records: Counted, **options: Any) -> RecentLoginStates:
    return RecentLoginStates(cast("AccountRecords", records), **options)


async def test_a_busy_login_is_read_once_in_half_a_second(principal: Principal) -> None:
    records = Counted()
    states = over(records)

    for _ in range(100):
        await states.login_state(principal, "family")

    assert records.reads == 1


async def test_after_half_a_second_it_is_read_again(principal: Principal) -> None:
    records = Counted()
    states = over(records, seconds=0.02)
    await states.login_state(principal, "family")

    await asyncio.sleep(0.03)

    await states.login_state(principal, "family")
    assert records.reads == 2


async def test_what_is_old_is_not_used_when_the_database_is_away(principal: Principal) -> None:
    records = Counted()
    states = over(records, seconds=0.02)
    await states.login_state(principal, "family")
    records.away = True
    await asyncio.sleep(0.03)

    with pytest.raises(DatabaseUnavailable):
        await states.login_state(principal, "family")


async def test_every_login_of_an_account_is_forgotten_and_no_other(principal: Principal, stranger: Principal) -> None:
    records = Counted()
    states = over(records)
    logins = [(principal, "one"), (principal, "two"), (stranger, "three")]
    for login in logins:
        await states.login_state(*login)

    states.forget(principal)

    for login in logins:
        await states.login_state(*login)
    assert records.reads == 5


async def test_the_memory_is_bounded() -> None:
    states = over(Counted(), most=10)

    for _ in range(100):
        await states.login_state(Principal(new_id(), new_id()), new_id())

    assert len(states._known) == 10
