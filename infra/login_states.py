"""The state of log-ins, remembered for half a second so that a busy account costs two reads a second."""

import time

from domain.accounts import LoginState, Principal
from domain.ports import AccountRecords

SECONDS = 0.5
MOST = 4096


class RecentLoginStates:
    """Port LoginStates, one per process."""

    def __init__(self, accounts: AccountRecords, *, seconds: float = SECONDS, most: int = MOST) -> None:
        self._accounts = accounts
        self._seconds = seconds
        self._most = most
        self._known: dict[tuple[Principal, str], tuple[float, LoginState]] = {}

    async def login_state(self, principal: Principal, family: str) -> LoginState:
        now = time.monotonic()  # before the read: what is read may be older than its end
        until, known = self._known.get((principal, family), (0.0, None))
        if known is not None and now < until:
            return known
        found = await self._accounts.login_state(principal, family)
        self._known.pop((principal, family), None)  # to the end of the line again
        self._known[principal, family] = now + self._seconds, found
        while len(self._known) > self._most:
            del self._known[next(iter(self._known))]
        return found

    def forget(self, principal: Principal) -> None:
        for key in [key for key in self._known if key[0].account == principal.account]:
            del self._known[key]
