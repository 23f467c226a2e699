"""The real servers are set up as promised: history for 30 days, nothing without a key, writes that survive."""

import httpx
import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client

from domain.names import DATETIME_ATTRIBUTES, KEYWORD_ATTRIBUTES
from infra.stack.addresses import Addresses, without_password


@pytest.fixture(scope="module")
async def temporal(addresses: Addresses) -> Client:
    return await Client.connect(addresses.temporal_address, namespace=addresses.temporal_namespace)


async def test_temporal_keeps_histories_for_thirty_days(temporal: Client) -> None:
    answer = await temporal.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=temporal.namespace))

    assert answer.config.workflow_execution_retention_ttl.ToTimedelta().days == 30


async def test_temporal_knows_our_search_attributes(temporal: Client) -> None:
    request = ListSearchAttributesRequest(namespace=temporal.namespace)

    known = (await temporal.operator_service.list_search_attributes(request)).custom_attributes

    keyword, moment = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD, IndexedValueType.INDEXED_VALUE_TYPE_DATETIME
    wanted = dict.fromkeys(KEYWORD_ATTRIBUTES, keyword) | dict.fromkeys(DATETIME_ATTRIBUTES, moment)
    assert {name: known[name] for name in wanted} == wanted


async def test_the_temporal_ui_is_there(addresses: Addresses) -> None:
    async with httpx.AsyncClient() as client:
        page = await client.get(addresses.temporal_ui_url)

    assert page.is_success


async def test_weaviate_answers_nobody_without_the_key(addresses: Addresses) -> None:
    async with httpx.AsyncClient(base_url=addresses.weaviate_url) as client:
        stranger = await client.get("/v1/schema")
        owner = await client.get("/v1/schema", headers={"Authorization": f"Bearer {addresses.weaviate_api_key}"})

    assert (stranger.status_code, owner.status_code) == (401, 200)


async def test_redis_answers_nobody_without_the_password(addresses: Addresses) -> None:
    async with Redis.from_url(without_password(addresses.redis_url)) as stranger:
        with pytest.raises(AuthenticationError):
            await stranger.ping()


async def test_redis_writes_an_append_only_file(addresses: Addresses) -> None:
    async with Redis.from_url(addresses.redis_url, decode_responses=True) as client:
        assert await client.config_get("appendonly") == {"appendonly": "yes"}
