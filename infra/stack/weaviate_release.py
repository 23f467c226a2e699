"""The official release archive of the Weaviate server, checked against its published SHA-256."""

import hashlib
import platform
import sys
import tarfile
import time
from pathlib import Path

import httpx

from infra.stack.errors import StackError
from infra.stack.progress import Say

RELEASES = "https://github.com/weaviate/weaviate/releases/download"
TIMEOUT = httpx.Timeout(60, connect=3)  # seconds; where the host cannot be reached, the build is waiting
PROGRAM = "weaviate"  # inside the archive
MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


async def download(version: str, folder: Path, say: Say, releases: str = RELEASES) -> Path:
    """The program, unpacked in the folder. Raises StackError."""
    url = f"{releases}/v{version}/{asset(version)}"
    archive = folder / "archive.tar.gz"
    try:
        async with httpx.AsyncClient(timeout=TIMEOUT, follow_redirects=True) as client:
            published = (await client.get(f"{url}.sha256")).raise_for_status().text
            digest = await _fetch(client, url, archive, say)
    except httpx.HTTPError as error:
        raise StackError(f"{url} is out of reach ({type(error).__name__})") from error
    if digest not in published.split():
        raise StackError(f"{url} does not have its published checksum")
    return unpack(archive, folder)


def asset(version: str) -> str:
    """The archive's name. Raises StackError where no checked archive exists: macOS gets none from the release job."""
    machine = MACHINES.get(platform.machine().lower())
    if not sys.platform.startswith("linux") or machine is None:
        raise StackError(f"none for {sys.platform} {platform.machine()}")
    return f"weaviate-v{version}-linux-{machine}.tar.gz"


async def _fetch(client: httpx.AsyncClient, url: str, archive: Path, say: Say) -> str:
    """Stream to disk; returns the SHA-256."""
    digest, begun, told, size = hashlib.sha256(), time.monotonic(), 0.0, 0
    async with client.stream("GET", url) as response:
        total = int(response.raise_for_status().headers.get("content-length", 0))
        with archive.open("wb") as file:
            async for piece in response.aiter_bytes():
                digest.update(piece)
                size += file.write(piece)
                if (elapsed := time.monotonic() - begun) - told >= 5:
                    told = elapsed
                    say(f"weaviate: downloaded {size / 1e6:.0f} of {total / 1e6:.0f} MB ({elapsed:.0f} s)")
    return digest.hexdigest()


def unpack(archive: Path, folder: Path) -> Path:
    """The program out of the archive, executable. Raises StackError."""
    program = folder / "weaviate-server"
    try:
        with tarfile.open(archive) as members, program.open("wb") as out:
            packed = members.extractfile(PROGRAM)
            while packed and (piece := packed.read(1 << 20)):
                out.write(piece)
    except (KeyError, tarfile.TarError) as error:
        raise StackError(f"the archive holds no {PROGRAM}") from error
    program.chmod(0o755)
    return program
