"""Small PDFs, written by hand: whole, locked, lying and hostile ones."""

import zlib
from collections.abc import Sequence


def pdf(pages: Sequence[Sequence[str]], *, count: int | None = None, locked: bool = False) -> bytes:
    """A page per list of lines. `count` is the number of pages it claims to have; `locked` needs a password."""
    letters = sorted({letter for page in pages for line in page for letter in line})
    glyphs = {letter: code for code, letter in enumerate(letters, start=33)}  # below 33 Helvetica shows nothing
    return from_streams([_text(page, glyphs) for page in pages], glyphs, count=count, locked=locked)


def from_streams(
    streams: Sequence[bytes],
    glyphs: dict[str, int],
    *,
    count: int | None = None,
    locked: bool = False,
    repeat: int = 1,
) -> bytes:
    """One page per content stream, stored compressed; a page shows its stream `repeat` times."""
    font, to_unicode, first = 3, 4, 5
    kids = " ".join(f"{first + 2 * number} 0 R" for number in range(len(streams)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(streams) if count is None else count} >>".encode(),
        f"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /ToUnicode {to_unicode} 0 R >>".encode(),
        _stream(_cmap(glyphs)),
    ]
    for number, content in enumerate(streams):
        here = first + 2 * number
        page = (
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents [{f'{here + 1} 0 R ' * repeat}] "
            f"/Resources << /Font << /F1 {font} 0 R >> >> >>"
        )
        objects += [page.encode(), _stream(content)]
    return _file(objects, _lock() if locked else "")


def _text(lines: Sequence[str], glyphs: dict[str, int]) -> bytes:
    shown = [f"<{''.join(f'{glyphs[letter]:02x}' for letter in line)}> Tj T*" for line in lines]
    return "\n".join(["BT /F1 10 Tf 12 TL 72 720 Td", *shown, "ET"]).encode()


def _cmap(glyphs: dict[str, int]) -> bytes:
    """What each code of the font means, so that any script works without embedding a font."""
    rows = [f"<{code:02x}> <{letter.encode('utf-16-be').hex()}>" for letter, code in glyphs.items()]
    return "\n".join(
        [
            "/CIDInit /ProcSet findresource begin 12 dict begin begincmap",
            "1 begincodespacerange <00> <ff> endcodespacerange",
            f"{len(rows)} beginbfchar",
            *rows,
            "endbfchar endcmap end end",
        ]
    ).encode()


def _stream(content: bytes) -> bytes:
    packed = zlib.compress(content, 9)
    return b"<< /Filter /FlateDecode /Length %d >>\nstream\n%b\nendstream" % (len(packed), packed)


def _lock() -> str:
    """A standard security handler whose check value fits no password, so not the empty one either."""
    return f"/Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <{'11' * 32}> /U <{'22' * 32}> >> /ID [<00> <00>]"


def _file(objects: Sequence[bytes], trailer: str) -> bytes:
    body = b"%PDF-1.4\n"
    offsets = []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(body))
        body += b"%d 0 obj\n%b\nendobj\n" % (number, content)
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    end = (
        f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
        f"trailer << /Size {len(objects) + 1} /Root 1 0 R {trailer} >>\nstartxref\n{len(body)}\n%%EOF\n"
    )
    return body + end.encode()
