"""Tenants and accounts."""

import unicodedata
from typing import Any

from sqlalchemy import Row, insert, select

from domain.accounts import Account, Credentials, Newcomer, Principal, Role
from domain.errors import NotFound, UsernameTaken
from domain.names import DEFAULT_COLLECTION, new_id
from infra.sql.database import Collision, Database, utc_now
from infra.sql.ownership import add, pick
from infra.sql.tables import accounts, collections, tenants


class SqlAccounts:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def register(self, newcomer: Newcomer) -> Account:
        """A new tenant with its first account and the collection `default`. Raises UsernameTaken."""
        account = Account(
            account_id=new_id(),
            tenant_id=new_id(),
            username=newcomer.username,
            email=newcomer.email,
            role=Role.OWNER,
            token_limit=newcomer.token_limit,
            is_active=True,
            token_epoch=0,
            created_at=utc_now(),
        )
        try:
            await self._insert(account, newcomer.password_hash)
        except Collision:
            raise UsernameTaken from None
        return account

    async def credentials(self, username: str) -> Credentials | None:
        """For login only: the one look-up that happens before there is a principal."""
        query = select(accounts).where(accounts.c.username_folded == folded(username))
        async with self._database.read() as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else Credentials(_account(row), row.password_hash)

    async def account(self, principal: Principal) -> Account:
        query = pick(principal, accounts).where(accounts.c.id == principal.account)
        async with self._database.read() as connection:
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            raise NotFound
        return _account(row)

    async def _insert(self, account: Account, password_hash: str) -> None:
        now, owner = account.created_at, account.principal
        tenant = {"id": account.tenant_id, "token_limit": account.token_limit, "created_at": now}
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
            "created_at": now,
        }
        default = {"id": new_id(), "name": DEFAULT_COLLECTION, "description": "", "generation": ""}
        async with self._database.write() as connection:
            await connection.execute(insert(tenants).values(**tenant))
            await connection.execute(add(owner, accounts, **person))
            await connection.execute(add(owner, collections, **default, created_at=now, updated_at=now))


def folded(username: str) -> str:
    """Usernames that look alike to a person are one."""
    return unicodedata.normalize("NFKC", username).casefold()


def _account(row: Row[Any]) -> Account:
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
