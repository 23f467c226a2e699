"""Ports are free, remembered per home, and never shared."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.stack.errors import StackError
from infra.stack.ports import Ports, is_free


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_home_gets_the_port_of_last_time_again(tmp_path: Path) -> None:
    first = Ports(tmp_path / "ports.json").port("redis")

    again = Ports(tmp_path / "ports.json").port("redis")

    assert again == first


def test_a_remembered_port_that_is_taken_meanwhile_is_replaced(tmp_path: Path, taken: int) -> None:
    (tmp_path / "ports.json").write_text(f'{{"redis": {taken}}}')

    port = Ports(tmp_path / "ports.json").port("redis")

    assert port != taken
    assert is_free(port)


def test_a_fixed_port_that_is_taken_is_refused(tmp_path: Path, taken: int) -> None:
    ports = Ports(tmp_path / "ports.json")

    with pytest.raises(StackError, match=f"{taken} for api is taken"):
        ports.port("api", fixed=taken)


def test_the_ports_that_follow_are_given_to_nobody_else(tmp_path: Path) -> None:
    first = Ports(tmp_path / "ports.json").port("raft", following=1)
    (tmp_path / "ports.json").write_text(f'{{"raft": {first}, "redis": {first + 1}}}')
    ports = Ports(tmp_path / "ports.json")

    given = [ports.port("raft", following=1), ports.port("redis")]

    assert len({given[0], given[0] + 1, given[1]}) == 3
