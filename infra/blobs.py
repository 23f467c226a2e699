"""Bytes by path in a folder, or in S3, GCS or Azure: `{tenant}/{path}`, whole or not at all.

In a folder a file is written beside its place and renamed; the library flushes nothing to the disk, so we do.
"""

import asyncio
import os
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import obstore
import structlog
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from domain.accounts import Principal
from domain.errors import BlobsUnavailable, Internal, NotFound, StorageExhausted
from domain.names import version_key
from domain.reconcile import BlobFolder

SECONDS = 10.0  # for one call; a blob has some ten megabytes at most
PIECE = 256 * 1024  # bytes that a stream reads at a time
LISTED = 1000  # blobs that are listed at a time
PART = 5 * 1024 * 1024  # bytes that a writer holds back; S3 takes no less
RESERVE = 1_000_000  # bytes; a disk with no more room than this beyond what was to be written counts as full
SEGMENT = r"[\w:=+-][\w.:=+-]*"  # neither `..` nor `#`, which marks a file that is not complete
KEY = re.compile(f"{SEGMENT}(/{SEGMENT})+", re.ASCII)
TENANT = re.compile("[0-9a-f]{32}")
VERSION = re.compile("[^/]+/([0-9a-f]{32})/([0-9]{1,9})/")  # the folder of a version, by our ids only
LOCAL: dict[str, dict[str, Any]] = {"file": {"mkdir": True}, "memory": {}}
REMOTE: dict[str, Any] = {
    "client_options": {"timeout": timedelta(seconds=SECONDS), "connect_timeout": timedelta(seconds=2)},
    "retry_config": {"max_retries": 0},
}

_log = structlog.get_logger()


class ObjectBlobs:
    """`file:` (the folder is created), `s3:`, `gs:`, `az:` or `memory:`. Credentials come from the environment."""

    def __init__(self, url: str) -> None:
        self._store: ObjectStore = from_url(url, **LOCAL.get(url.partition(":")[0], REMOTE))
        self._folder = _folder(self._store)

    async def ping(self) -> None:
        async with _deadline("ping"):
            if self._folder is not None and not os.access(self._folder, os.W_OK):
                raise BlobsUnavailable
            with suppress(FileNotFoundError):
                await obstore.head_async(self._store, "ping")

    async def put(self, principal: Principal, path: str, data: bytes) -> None:
        """Raises StorageExhausted."""
        key = self._key(principal, path)
        async with _deadline("put", self._folder, len(data)):
            await obstore.put_async(self._store, key, data)
            await _flush(self._folder, key)

    async def get(self, principal: Principal, path: str) -> bytes:
        key = self._key(principal, path)
        async with _deadline("get"):
            with _absent():
                found = await obstore.get_async(self._store, key)
            return bytes(await found.bytes_async())

    async def exists(self, principal: Principal, path: str) -> bool:
        key = self._key(principal, path)
        async with _deadline("head"):
            with suppress(FileNotFoundError):
                await obstore.head_async(self._store, key)
                return True
        return False

    @asynccontextmanager
    async def writer(self, principal: Principal, path: str) -> AsyncIterator["ObjectWriter"]:
        """Raises StorageExhausted, at the latest at the end."""
        writer = ObjectWriter(self._store, self._key(principal, path))
        try:
            yield writer
            await writer.finish()
        except BaseException as error:
            await writer.abandon(error)
            raise

    async def stream(self, principal: Principal, path: str) -> AsyncIterator[bytes]:
        key = self._key(principal, path)
        async with _deadline("get"):
            with _absent():
                found = await obstore.get_async(self._store, key)
        pieces = aiter(found.stream(PIECE))
        while True:
            async with _deadline("get"):
                piece = await anext(pieces, None)
            if piece is None:
                return
            yield bytes(piece)

    async def delete(self, principal: Principal, prefix: str) -> None:
        key = self._key(principal, prefix.rstrip("/"))
        if self._folder is None:
            await self._delete_listed(key)
        else:
            async with _deadline("delete"):
                await asyncio.to_thread(_remove, self._folder / key)

    async def folders(self, principal: Principal) -> AsyncIterator[BlobFolder]:
        """Every store lists the blobs of a folder one after the other, so that one folder at a time is held."""
        folder: BlobFolder | None = None
        async for path, written_at in self._listed(principal.tenant):
            key = _version_key(path)
            if folder is not None and key == folder.version_key:
                folder = BlobFolder(key, max(folder.written_at, written_at))
                continue
            if folder is not None:
                yield folder
            folder = BlobFolder(key, written_at) if key else None
        if folder is not None:
            yield folder

    async def total(self, principal: Principal) -> int:
        count = 0
        async for _ in self._listed(_root(principal)):
            count += 1
        return count

    async def erase(self, principal: Principal) -> None:
        """A document at a time, so that no size of a tenant meets a deadline."""
        root = _root(principal)
        if self._folder is None:
            await self._delete_listed(root)
            return
        for place in [*await asyncio.to_thread(_children, self._folder / root), self._folder / root]:
            async with _deadline("delete"):
                await asyncio.to_thread(_remove, place)

    async def _listed(self, prefix: str) -> AsyncIterator[tuple[str, datetime]]:
        pages = aiter(obstore.list(self._store, prefix, chunk_size=LISTED))
        while True:
            async with _deadline("list"):
                page = await anext(pages, None)
            for found in page or ():
                yield found["path"], found["last_modified"]
            if page is None:
                return

    async def _delete_listed(self, prefix: str) -> None:
        async with _deadline("delete"):
            with suppress(FileNotFoundError):
                await obstore.delete_async(self._store, prefix)
        pages = aiter(obstore.list(self._store, prefix))
        while True:
            async with _deadline("delete"):
                page = await anext(pages, None)
                if page is None:
                    return
                await obstore.delete_async(self._store, [found["path"] for found in page])

    def _key(self, principal: Principal, path: str) -> str:
        """Raises BlobsUnavailable while the folder is gone: then nothing in it is missing, and nothing may be made."""
        if self._folder is not None and not self._folder.is_dir():
            raise BlobsUnavailable
        return _key(principal, path)


class ObjectWriter:
    def __init__(self, store: ObjectStore, key: str) -> None:
        self._file = obstore.open_writer_async(store, key, buffer_size=PART, max_concurrency=2)
        self._folder = _folder(store)
        self._key = key
        self._size = 0

    async def write(self, piece: bytes) -> None:
        self._size += len(piece)
        async with _deadline("write", self._folder, self._size):
            await self._file.write(piece)

    async def finish(self) -> None:
        async with _deadline("write", self._folder, self._size):
            await self._file.close()
            await _flush(self._folder, self._key)

    async def abandon(self, error: BaseException) -> None:
        """Nothing is kept; what cannot be taken away is incomplete and never listed."""
        with suppress(BaseError, OSError):
            async with asyncio.timeout(SECONDS):
                await self._file.__aexit__(type(error), error, None)


@asynccontextmanager
async def _deadline(call: str, folder: Path | None = None, size: int = 0) -> AsyncIterator[None]:
    """`size`: bytes that were to be in the folder. The library says in prose only that a disk is full."""
    try:
        async with asyncio.timeout(SECONDS):
            yield
    except (BaseError, OSError) as error:  # TimeoutError is an OSError
        _log.warning("blob_call_failed", call=call, error=type(error).__name__)
        raise (StorageExhausted if _is_full(folder, size) else BlobsUnavailable) from None


@contextmanager
def _absent() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise NotFound from None


def _key(principal: Principal, path: str) -> str:
    """Paths are made by us; one that leads elsewhere is a fault of ours."""
    key = f"{principal.tenant}/{path}"
    if not KEY.fullmatch(key):
        raise Internal("A blob's path is not allowed.")
    return key


def _root(principal: Principal) -> str:
    """The tenant's folder; nothing but one of our ids may stand for everything in it."""
    if not TENANT.fullmatch(principal.tenant):
        raise Internal("A tenant's id is not allowed.")
    return principal.tenant


def _version_key(path: str) -> str:
    """Empty for what lies in no version's folder."""
    found = VERSION.match(path)
    return version_key(found[1], int(found[2])) if found else ""


def _folder(store: ObjectStore) -> Path | None:
    return store.prefix if isinstance(store, LocalStore) else None


def _is_full(folder: Path | None, size: int) -> bool:
    if folder is None:
        return False
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize < size + RESERVE


async def _flush(folder: Path | None, key: str) -> None:
    """What was acknowledged survives a loss of power; an object store sees to that itself."""
    if folder is not None:
        await asyncio.to_thread(_fsync, folder / key)


def _fsync(file: Path) -> None:
    for path in (file, file.parent):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _children(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _remove(place: Path) -> None:
    """With what a killed writer left behind, which the library does not list."""
    with suppress(FileNotFoundError):
        if place.is_file():
            place.unlink()
        else:
            shutil.rmtree(place)
