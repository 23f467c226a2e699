"""Tenants and accounts, and what is noted of an account's log-ins."""

import unicodedata
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, Update, and_, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.accounts import Account, Credentials, Login, LoginState, Newcomer, Principal, Role
from domain.audit import Event, Note
from domain.errors import Conflict, UsernameTaken
from domain.names import DEFAULT_COLLECTION, new_id
from infra.sql.audit import write_down
from infra.sql.budgets import allotted, hold_tenant
from infra.sql.database import Collision, Database, add_missing, one, utc_now
from infra.sql.invites import redeem
from infra.sql.ownership import add, change, own, owner, pick, remove
from infra.sql.tables import accounts, collections, logins, tenants

NOTES_KEPT = timedelta(days=31)  # longer than any log-in lives


class SqlAccounts:
    def __init__(self, database: Database, clock: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._clock = clock

    async def register(self, newcomer: Newcomer) -> Account:
        """A new tenant with its first account and the collection `default`. Raises UsernameTaken."""
        account = first_owner(newcomer)
        try:
            async with self._database.write() as connection:
                await found_tenant(connection, account, newcomer.password_hash)
                event = Event.ACCOUNT_REGISTERED
                await write_down(connection, Note(event, account.tenant_id, account.account_id, account.account_id))
        except Collision:
            raise UsernameTaken from None
        return account

    async def join(self, newcomer: Newcomer, invite: str) -> Account:
        """An account in the tenant of the invite, which is used up by it. Raises InvalidInvite, UsernameTaken.

        Its limit is what the owners have not given to others yet, at most the newcomer's.
        """
        account_id = new_id()
        try:
            async with self._database.write() as connection:
                used = await redeem(connection, invite, account_id, self._clock())
                tenant = Principal(used.tenant_id, account_id)
                left = await hold_tenant(connection, tenant) - await allotted(connection, tenant)
                limit = max(0, min(newcomer.token_limit, left))
                account = _newcomer(newcomer, account_id, used.tenant_id, Role(used.role), limit)
                await _insert(connection, account, newcomer.password_hash)
                facts = {"invite": used.id, "role": account.role, "token_limit": limit}
                note = Note(Event.ACCOUNT_JOINED, account.tenant_id, account_id, account_id, facts)
                await write_down(connection, note)
        except Collision:
            raise UsernameTaken from None
        return account

    async def credentials(self, username: str) -> Credentials | None:
        """For login only: the one look-up that happens before there is a principal."""
        query = select(accounts).where(accounts.c.username_folded == folded(username))
        async with self._database.read() as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else Credentials(account_of(row), row.password_hash)

    async def account(self, principal: Principal) -> Account:
        query = pick(principal, accounts).where(accounts.c.id == principal.account)
        async with self._database.read() as connection:
            row = await one(connection, query)
        return account_of(row)

    async def login_state(self, principal: Principal, family: str) -> LoginState:
        noted = and_(logins.c.account_id == accounts.c.id, logins.c.family == family)
        query = (
            select(accounts, logins.c.ended, logins.c.carried_to)
            .select_from(accounts.outerjoin(logins, noted))
            .where(own(principal, accounts), accounts.c.id == principal.account)
        )
        async with self._database.read() as connection:
            row = await one(connection, query)
        return LoginState(account_of(row), bool(row.ended), row.carried_to)

    async def end(self, login: Login) -> None:
        async with self._database.write() as connection:
            await _note(connection, login, ended=True)

    async def end_all(self, principal: Principal) -> None:
        statement = change(principal, accounts).where(accounts.c.id == principal.account)
        async with self._database.write() as connection:
            await connection.execute(statement.values(token_epoch=accounts.c.token_epoch + 1))

    async def change_password(self, login: Login, old_hash: str, new_hash: str) -> None:
        statement = _password(login.principal, old_hash).values(
            password_hash=new_hash, token_epoch=accounts.c.token_epoch + 1
        )
        async with self._database.write() as connection:
            epoch = (await connection.execute(statement.returning(accounts.c.token_epoch))).scalar_one_or_none()
            if epoch is None:
                raise Conflict("The password was changed at the same time; log in with the present one.")
            await _note(connection, login, carried_to=epoch)

    async def rehash(self, principal: Principal, old_hash: str, new_hash: str) -> None:
        async with self._database.write() as connection:
            await connection.execute(_password(principal, old_hash).values(password_hash=new_hash))


async def found_tenant(connection: AsyncConnection, owner: Account, password_hash: str) -> None:
    """The rows of a new tenant: itself, its owner, the collection `default`."""
    now = owner.created_at
    tenant = {"id": owner.tenant_id, "token_limit": owner.token_limit, "created_at": now}
    default = {"id": new_id(), "name": DEFAULT_COLLECTION, "description": "", "generation": ""}
    await connection.execute(insert(tenants).values(**tenant))
    await _insert(connection, owner, password_hash)
    await connection.execute(add(owner.principal, collections, **default, created_at=now, updated_at=now))


def first_owner(newcomer: Newcomer) -> Account:
    return _newcomer(newcomer, new_id(), new_id(), Role.OWNER, newcomer.token_limit)


async def _insert(connection: AsyncConnection, account: Account, password_hash: str) -> None:
    person = {
        "id": account.account_id,
        "username": account.username,
        "username_folded": folded(account.username),
        "email": account.email,
        "password_hash": password_hash,
        "role": account.role,
        "token_limit": account.token_limit,
        "is_active": account.is_active,
        "token_epoch": account.token_epoch,
        "created_at": account.created_at,
    }
    await connection.execute(add(account.principal, accounts, **person))


def _newcomer(newcomer: Newcomer, account_id: str, tenant_id: str, role: Role, token_limit: int) -> Account:
    return Account(
        account_id=account_id,
        tenant_id=tenant_id,
        username=newcomer.username,
        email=newcomer.email,
        role=role,
        token_limit=token_limit,
        is_active=True,
        token_epoch=0,
        created_at=utc_now(),
    )


async def _note(connection: AsyncConnection, login: Login, **values: Any) -> None:
    """Something about this log-in; what was noted of those that are over anyway is dropped."""
    now, mine = utc_now(), login.principal
    row = {**owner(mine, logins), "family": login.family, "ended": False, "noted_at": now}
    await connection.execute(remove(mine, logins).where(logins.c.noted_at < now - NOTES_KEPT))
    await add_missing(connection, logins, [row])
    statement = change(mine, logins).where(logins.c.family == login.family)
    await connection.execute(statement.values(noted_at=now, **values))


def _password(principal: Principal, old_hash: str) -> Update:
    """The account's row, as long as the password is still the one that was verified."""
    return change(principal, accounts).where(accounts.c.id == principal.account, accounts.c.password_hash == old_hash)


def folded(username: str) -> str:
    """Usernames that look alike to a person are one."""
    return unicodedata.normalize("NFKC", username).casefold()


def account_of(row: Row[Any]) -> Account:
    return Account(
        account_id=row.id,
        tenant_id=row.tenant_id,
        username=row.username,
        email=row.email,
        role=Role(row.role),
        token_limit=row.token_limit,
        is_active=row.is_active,
        token_epoch=row.token_epoch,
        created_at=row.created_at,
    )
