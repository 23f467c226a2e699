"""Every node call is a real one: the plugin's result cache is off."""

from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.langgraph import LangGraphPlugin
from temporalio.worker import Replayer, Worker

from domain.names import new_id
from infra.stack.addresses import Addresses
from tests.workflows.looping import CALLS, Looping, looping_graph
from workflows.worker import RUNNER


async def test_a_loop_of_equal_calls_runs_each_of_them_in_every_run_and_replays(addresses: Addresses) -> None:
    """With the cache it was measured to run 3, 1, 1, 1, 1 times, and not to replay."""
    client = await Client.connect(addresses.temporal_address, data_converter=pydantic_data_converter)
    queue = new_id()
    CALLS.clear()

    async with Worker(
        client,
        task_queue=queue,
        workflows=[Looping],
        workflow_runner=RUNNER,
        plugins=[LangGraphPlugin(graphs={"loop": looping_graph()})],
    ):
        handles = []
        for word in ("same", "same", "same", "same", "same"):
            handles.append(await client.start_workflow(Looping.run, word, id=new_id(), task_queue=queue))
            await handles[-1].result()

    assert CALLS == ["same"] * 15
    for handle in handles:
        again = Replayer(
            workflows=[Looping],
            workflow_runner=RUNNER,
            plugins=[LangGraphPlugin(graphs={"loop": looping_graph()})],
            data_converter=pydantic_data_converter,
        )
        await again.replay_workflow(await handle.fetch_history())
