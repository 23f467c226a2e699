"""Whose rows a statement may touch: statements on a tenant's tables are made here and carry it already."""

from typing import Any

from sqlalchemy import ColumnElement, Delete, Insert, Select, Table, Update, and_, delete, insert, or_, select, update

from domain.accounts import Principal
from domain.runs import Kind
from infra.sql.tables import api_keys, budgets, commands, conversations, logins, provider_calls, tenants, turns

PRIVATE = (conversations, turns, provider_calls, budgets, api_keys, logins)  # a colleague's are absent


def own(principal: Principal, table: Table) -> ColumnElement[bool]:
    """What of this table the principal may see: the tenant's rows, of some tables the account's only."""
    if table is tenants:
        return tenants.c.id == principal.tenant
    tenant = table.c.tenant_id == principal.tenant
    account = table.c.account_id == principal.account if "account_id" in table.c else None
    if table in PRIVATE and account is not None:
        return and_(tenant, account)
    if table is commands and account is not None:
        return and_(tenant, or_(table.c.kind != Kind.CHAT, account))
    return tenant


def pick(principal: Principal, table: Table, *columns: Any) -> Select[Any]:
    """SELECT; without columns, all of the table."""
    return select(*(columns or (table,))).where(own(principal, table))


def change(principal: Principal, table: Table) -> Update:
    return update(table).where(own(principal, table))


def remove(principal: Principal, table: Table) -> Delete:
    return delete(table).where(own(principal, table))


def add(principal: Principal, table: Table, **values: Any) -> Insert:
    return insert(table).values(**owner(principal, table), **values)


def owner(principal: Principal, table: Table) -> dict[str, str]:
    """The columns that say whose a new row is."""
    columns = {"tenant_id": principal.tenant, "account_id": principal.account}
    return {name: value for name, value in columns.items() if name in table.c}
