"""The demo: start everything, index the sample documents, ask questions, show answers with their quotes."""

import json
import secrets
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.markup import escape
from rich.table import Table

SAMPLES = files("cli") / "samples"
SUFFIXES = (".md", ".txt", ".pdf")
SETTLED_WITHIN = 5.0  # seconds
READY_WITHIN = 120.0  # seconds for one document, the first of which loads the embedding model

out = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Api:
    """The HTTP API as one account sees it."""

    http: httpx.Client

    def call(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        response = self.http.request(method, path, **arguments)
        if response.is_error:
            raise SystemExit(f"{method} {path} answered {response.status_code}: {response.text}")
        body: dict[str, Any] = response.json()
        return body


def demo(home: Path) -> int:
    """0 when every document became ready and every question was answered as its sample expects."""
    stack, started = _start(home)
    try:
        with httpx.Client(base_url=stack["api_url"], timeout=90) as http:
            api = Api(http)
            http.headers["Authorization"] = f"Bearer {_account(api)}"
            complete = _documents(api)
            complete = _questions(api) and complete
            _usage(api)
    finally:
        if started:
            out.print("\nStopping everything …")
            _moorage("stop", "--home", str(home))
    out.print(f"Every run can be opened in the Temporal UI: {stack['temporal_ui_url']}")
    if started:
        out.print("Run [bold]make dev[/bold] to start the same home again; the addresses above then work.")
    return 0 if complete else 1


def _start(home: Path) -> tuple[dict[str, Any], bool]:
    """(where everything is, whether we started it)."""
    running = _moorage("status", "--json", "--home", str(home), check=False)
    if running.returncode == 0:
        return json.loads(running.stdout), False
    out.print("Starting Temporal, Valkey, Weaviate, the API and three workers …")
    return json.loads(_moorage("dev", "--detach", "--home", str(home)).stdout), True


def _moorage(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Progress goes to our own standard error as it comes."""
    command = [sys.executable, "-m", "cli.main", *arguments]
    errors = None if check else subprocess.DEVNULL
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=errors, text=True, check=False)  # noqa: S603
    if check and done.returncode:
        raise SystemExit(done.returncode)
    return done


def _account(api: Api) -> str:
    """A new account, and so a new tenant, on every run; its access token."""
    username, password = f"demo-{secrets.token_hex(4)}", secrets.token_urlsafe(16)
    body = {"username": username, "email": f"{username}@example.com", "password": password}
    api.call("POST", "/api/v1/auth/register", json=body)
    tokens = api.call("POST", "/api/v1/auth/login", json={"username": username, "password": password})
    out.print(f"Registered the account [bold]{username}[/bold].\n")
    token: str = tokens["access_token"]
    return token


def _documents(api: Api) -> bool:
    """Upload all, then wait for each. True when every one became ready."""
    table = Table(title="Documents", title_justify="left", box=None, pad_edge=False)
    for column in ("document", "chunks", "seconds", "state", "workflow id"):
        table.add_column(column, justify="right" if column in ("chunks", "seconds") else "left", overflow="fold")
    uploads = [
        (name, _upload(api, name)) for name in sorted(path.name for path in SAMPLES.iterdir()) if is_sample(name)
    ]
    ready = True
    for name, workflow_id in uploads:
        run = _finished(api, workflow_id)
        ready = ready and run["state"] == "succeeded"
        chunks = str((run["result"] or {}).get("chunks", "-"))
        table.add_row(name, chunks, f"{_seconds(run):.2f}", run["state"], workflow_id)
    out.print(table)
    return ready


def is_sample(name: str) -> bool:
    """Documents are in lower case; the licence and attribution files beside them are not."""
    return name.endswith(SUFFIXES) and name[0].islower()


def _upload(api: Api, name: str) -> str:
    run = api.call("POST", "/api/v1/documents", files={"file": (name, (SAMPLES / name).read_bytes())})
    workflow_id: str = run["workflow_id"]
    return workflow_id


def _finished(api: Api, workflow_id: str) -> dict[str, Any]:
    until = time.monotonic() + READY_WITHIN
    while True:
        run = api.call("GET", f"/api/v1/runs/{workflow_id}", params={"wait": 30})
        if run["finished_at"] or time.monotonic() > until:
            return run


def _seconds(run: dict[str, Any]) -> float:
    if not run["finished_at"]:
        return READY_WITHIN
    return (datetime.fromisoformat(run["finished_at"]) - datetime.fromisoformat(run["created_at"])).total_seconds()


def _questions(api: Api) -> bool:
    """Ask one after another; a follow-up goes on in the conversation before it. True when all are as expected."""
    out.print()
    conversation: str | None = None
    as_expected = True
    for question in json.loads((SAMPLES / "questions.json").read_text(encoding="utf-8")):
        body = {"message": question["text"]} | ({"conversation_id": conversation} if question["follow_up"] else {})
        answer = api.call("POST", "/api/v1/chat", json=body, headers={"Prefer": "wait=60"})
        conversation = answer["conversation_id"]
        as_expected = _show(question, answer) and as_expected
    return as_expected


def _show(question: dict[str, Any], answer: dict[str, Any]) -> bool:
    follow_up = " (follow-up)" if question["follow_up"] else ""
    out.print(f"[bold]Q[/bold]{follow_up}  {escape(question['text'])}")
    if "response" not in answer:
        out.print(f"   [red]no answer within 60 s[/red]: {answer['workflow_id']}\n")
        return False
    text: str = answer["response"]["content"]
    out.print(f"[bold]A[/bold]  {escape(text)}")
    for source in answer["sources"]:
        if source["cited"]:
            page = f", page {source['page']}" if source["page"] else ""
            place = f"{source['filename']}{page}, characters {source['start']}-{source['end']}"
            out.print(f"   [dim]\\[{source['index']}] {escape(place)}[/dim]")
            out.print(f"       [italic]“{escape(source['quote'])}”[/italic]")
    model = answer["model_used"] or "no model was asked"
    out.print(f"   [dim]{answer['response_time']:.2f} s, {model}, {answer['workflow_id']}[/dim]\n")
    if question["expect"] is None:
        return bool(answer["finish_reason"] == "not_found")
    return question["expect"] in text


def _usage(api: Api) -> None:
    usage = _settled(api)
    limit, used = usage["token_limit"], usage["tokens_used"]
    out.print(f"Usage in {usage['month']}: {used} of {limit} tokens bought, {usage['tokens_reserved']} reserved.")
    for line in usage["by_model"]:
        paid = _paid(line["cost"], usage["currency"]) if line["billable"] else "local, free"
        out.print(f"   {escape(line['model'])}: {line['calls']} calls, {line['tokens']} tokens ({paid})")


def _settled(api: Api) -> dict[str, Any]:
    """What the last answer cost is counted a moment after it was given."""
    until = time.monotonic() + SETTLED_WITHIN
    while True:
        usage = api.call("GET", "/api/v1/usage")
        if not usage["tokens_reserved"] or time.monotonic() > until:
            return usage
        time.sleep(0.1)


def _paid(cost: float | None, currency: str | None) -> str:
    return "bought, without a price" if cost is None else f"bought for {cost:.6f} {currency}"
