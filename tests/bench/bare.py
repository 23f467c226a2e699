"""The smallest workflow that does something: the yardstick for what a chat turn costs."""

from datetime import timedelta

from temporalio import activity, workflow


@activity.defn
async def work(question: str) -> str:
    return "answer"


@workflow.defn
class Bare:
    @workflow.run
    async def run(self, question: str) -> str:
        return await workflow.execute_activity(work, question, start_to_close_timeout=timedelta(seconds=10))
