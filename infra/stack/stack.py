"""The whole of Moorage on one machine: the three servers, then the migrations, then the API and the workers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from infra.models import model_list
from infra.prices import price_list
from infra.settings import Settings
from infra.stack import state
from infra.stack.addresses import Addresses, without_password
from infra.stack.envfile import EnvFile
from infra.stack.errors import StackError
from infra.stack.leftovers import end_leftovers
from infra.stack.platform import Platform
from infra.stack.ports import Ports
from infra.stack.progress import Say
from infra.stack.state import Life, Phase, Report, State
from infra.stack.stores import Plan, plan_stores
from infra.stack.supervisor import Status, Supervisor


class Stack:
    """One home's processes; whoever makes one holds the home's lock."""

    def __init__(self, settings: Settings, home: Path, say: Say) -> None:
        self._settings = settings
        self._home = home
        self._say = say
        self._env = EnvFile(home / "env")
        self._supervisor = Supervisor(home / "logs", changed=self._publish, say=say)
        self._state = State(Life.of(0), Report(str(home), Phase.STARTING))

    @property
    def report(self) -> Report:
        return self._state.report

    async def start(self) -> None:
        """Returns when everything is ready. Raises StackError; stop() is due in any case."""
        _refuse_bad_lists(self._settings)
        end_leftovers(self._home, self._say)
        self._state = replace(self._state, supervisor=Life.own())
        self._publish()
        ports = Ports(self._home / "ports.json")
        plan = await plan_stores(self._home, self._settings.cache, self._settings, ports, self._env, self._say)
        platform = Platform(self._settings, self._home, ports, self._env, plan.addresses)
        self._describe(plan, platform)
        await self._supervisor.start(plan.processes)
        self._say("bringing the database up to date")
        await self._supervisor.run(platform.migrate())
        await self._supervisor.start(platform.processes())
        self._enter(Phase.READY)

    async def stop(self, error: str = "") -> None:
        """In order: the API, the workers, Weaviate, Redis, Temporal."""
        self._enter(Phase.STOPPING)
        await self._supervisor.stop()
        self._state = replace(self._state, error=error)
        self._enter(Phase.FAILED if error else Phase.STOPPED)

    def _describe(self, plan: Plan, platform: Platform) -> None:
        """Write down where everything will be. What the operator gave is not copied into the env file."""
        addresses = plan.addresses
        ours = {name: value for name, value in addresses.environment().items() if name not in plan.given}
        self._env.forget(*plan.given)
        self._env.write({**ours, "MOORAGE_HOME": str(self._home), "MOORAGE_API_URL": platform.api_url})
        report = replace(
            self.report,
            api_url=platform.api_url,
            metrics_urls=platform.metrics_urls,
            env_file=str(self._env.path),
            **_where(addresses),
        )
        self._state = replace(self._state, report=report)
        self._publish()

    def _enter(self, phase: Phase) -> None:
        self._state = replace(self._state, report=replace(self.report, phase=phase))
        self._publish()

    def _publish(self) -> None:
        statuses = self._supervisor.statuses()
        report = replace(self.report, processes=[_process(status) for status in statuses])
        children = [Life.of(status.pid) for status in statuses if status.pid]
        self._state = replace(self._state, report=report, children=children)
        state.write(self._home, self._state)


def _refuse_bad_lists(settings: Settings) -> None:
    """What would keep each of our processes from starting is told before any server is started. Raises StackError."""
    try:
        model_list(settings)
        price_list(settings.prices)
    except ValueError as error:
        raise StackError(str(error)) from None


def _where(addresses: Addresses) -> dict[str, Any]:
    return {
        "temporal_ui_url": addresses.temporal_ui_url,
        "temporal_address": addresses.temporal_address,
        "temporal_namespace": addresses.temporal_namespace,
        "weaviate_url": without_password(addresses.weaviate_url),
        "redis_url": without_password(addresses.redis_url),
    }


def _process(status: Status) -> dict[str, Any]:
    return {"name": status.name, "pid": status.pid, "restarts": status.restarts, "ready": status.ready}
