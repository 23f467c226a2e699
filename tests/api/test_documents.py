"""A document's way over HTTP: in, through its run, out again as text, content and search results."""

import json

import pytest

from tests.platform import Platform, User

HARBOUR = (
    "# Harbour rules\n\n"
    "The harbour master opens the lock at six in the morning. "
    "Boats longer than twelve metres must call on channel 9.\n\n"
    "## Fees\n\n"
    "A mooring costs 14 euros a night. Fees are paid at the office beside the lighthouse.\n"
)


async def test_an_upload_answers_202_with_its_run_and_becomes_ready(user: User) -> None:
    response = await user.http.post("/api/v1/documents", files={"file": ("harbour.md", HARBOUR.encode())})

    assert response.status_code == 202
    accepted = response.json()
    assert accepted["workflow_id"] == f"ingest:{user.tenant}:{accepted['document_id']}:1"
    assert response.headers["location"] == f"/api/v1/runs/{accepted['workflow_id']}"
    run = await user.finished(accepted["workflow_id"])
    assert run["state"] == "succeeded"
    document = (await user.http.get(f"/api/v1/documents/{accepted['document_id']}")).json()
    assert document["state"] == "ready"
    assert document["version"] == 1
    assert document["pending"] is None
    assert document["chunks"] == run["result"]["chunks"] > 0


async def test_text_and_content_are_what_was_uploaded(user: User) -> None:
    run = await user.upload("harbour rules.md", HARBOUR.encode())

    text = await user.http.get(f"/api/v1/documents/{run['document_id']}/text")
    content = await user.http.get(f"/api/v1/documents/{run['document_id']}/content")

    assert text.text == HARBOUR
    assert text.headers["content-type"] == "text/plain; charset=utf-8"
    assert content.content == HARBOUR.encode()
    assert content.headers["content-disposition"] == "attachment; filename*=UTF-8''harbour%20rules.md"


async def test_a_text_field_is_a_document_too(user: User) -> None:
    response = await user.http.post(
        "/api/v1/documents", files={"text": (None, "The ferry leaves at noon.")}, data={"title": "Ferry"}
    )

    run = await user.finished(response.json()["workflow_id"])

    document = (await user.http.get(f"/api/v1/documents/{run['document_id']}")).json()
    assert (document["title"], document["filename"], document["state"]) == ("Ferry", "text.txt", "ready")


async def test_search_finds_the_passage_and_quotes_the_stored_text(user: User) -> None:
    run = await user.upload("harbour.md", HARBOUR.encode())

    response = await user.http.post("/api/v1/search", json={"query": "What does a night at a mooring cost?"})

    best = response.json()["results"][0]
    assert "14 euros" in best["text"]
    assert best["document_id"] == run["document_id"]
    assert HARBOUR[best["start"] : best["end"]] == best["quote"]
    assert set(response.json()["timings_ms"]) == {"embed", "search", "total"}


@pytest.mark.parametrize("mode", ["hybrid", "keyword", "vector"])
async def test_every_mode_of_search_finds_it(user: User, mode: str) -> None:
    await user.upload("harbour.md", HARBOUR.encode())

    response = await user.http.post("/api/v1/search", json={"query": "mooring fees", "mode": mode})

    assert any("14 euros" in result["text"] for result in response.json()["results"])


async def test_a_metadata_filter_keeps_other_documents_out(user: User) -> None:
    await user.upload("a.txt", b"The crane lifts four tonnes.", metadata=json.dumps({"site": "north", "year": 2024}))
    await user.upload("b.txt", b"The crane lifts nine tonnes.", metadata=json.dumps({"site": "south", "year": 2025}))

    south = await user.http.post("/api/v1/search", json={"query": "crane", "filters": {"site": "south"}})
    either = await user.http.post("/api/v1/search", json={"query": "crane", "filters": {"year": {"in": [2024, 2025]}}})
    text = await user.http.post("/api/v1/search", json={"query": "crane", "filters": {"year": "2024"}})

    assert ["nine" in result["text"] for result in south.json()["results"]] == [True]
    assert len(either.json()["results"]) == 2
    assert text.json()["results"] == []


async def test_the_same_bytes_again_point_to_what_exists(user: User) -> None:
    run = await user.upload("harbour.md", HARBOUR.encode())

    again = await user.http.post("/api/v1/documents", files={"file": ("copy.md", HARBOUR.encode())})
    refused = await user.http.post(
        "/api/v1/documents", files={"file": ("copy.md", HARBOUR.encode())}, data={"on_duplicate": "reject"}
    )
    new = await user.http.post(
        "/api/v1/documents", files={"file": ("copy.md", HARBOUR.encode())}, data={"on_duplicate": "new"}
    )

    assert (again.status_code, again.json()) == (200, {"document_id": run["document_id"], "duplicate": True})
    assert (refused.status_code, refused.json()["code"]) == (409, "duplicate_document")
    assert new.status_code == 202
    assert new.json()["document_id"] != run["document_id"]
    await user.finished(new.json()["workflow_id"])


async def test_a_key_gives_the_same_run_again_and_refuses_another_body(user: User) -> None:
    headers = {"Idempotency-Key": "upload-1"}
    first = await user.http.post("/api/v1/documents", files={"file": ("a.txt", b"One buoy.")}, headers=headers)

    same = await user.http.post("/api/v1/documents", files={"file": ("a.txt", b"One buoy.")}, headers=headers)
    other = await user.http.post("/api/v1/documents", files={"file": ("a.txt", b"Two buoys.")}, headers=headers)

    assert (same.status_code, same.json()["workflow_id"]) == (202, first.json()["workflow_id"])
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    await user.finished(first.json()["workflow_id"])


async def test_an_upload_into_a_new_collection_makes_it_and_search_stays_inside(user: User) -> None:
    await user.upload("a.txt", b"The tide turns at four.", collection="tides")
    await user.upload("b.txt", b"The tide turns at nine.")

    found = await user.http.post("/api/v1/search", json={"query": "tide", "collection": "tides"})
    collections = (await user.http.get("/api/v1/collections")).json()["items"]
    listed = (await user.http.get("/api/v1/collections/tides/documents")).json()["items"]

    assert [result["filename"] for result in found.json()["results"]] == ["a.txt"]
    assert {(one["name"], one["documents"], one["chunks"]) for one in collections} == {
        ("default", 1, 1),
        ("tides", 1, 1),
    }
    assert [document["filename"] for document in listed] == ["a.txt"]


async def test_documents_are_listed_newest_first_page_by_page(user: User) -> None:
    for name in ("1.txt", "2.txt", "3.txt"):
        await user.upload(name, f"Berth {name}".encode())

    first = (await user.http.get("/api/v1/documents", params={"limit": 2})).json()
    rest = (await user.http.get("/api/v1/documents", params={"limit": 2, "cursor": first["next_cursor"]})).json()

    assert [item["filename"] for item in first["items"] + rest["items"]] == ["3.txt", "2.txt", "1.txt"]
    assert rest["next_cursor"] is None


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("broken.pdf", b"%PDF-1.7\nthis is no PDF", "corrupt_file"),
        ("blank.txt", b"   \n\t\n", "no_text"),
    ],
)
async def test_bytes_that_cannot_be_read_fail_the_run_with_their_reason(
    user: User, name: str, data: bytes, code: str
) -> None:
    run = await user.upload(name, data)

    assert run["state"] == "failed"
    assert (run["error"]["code"], run["error"]["step"], run["error"]["retryable"]) == (code, "parse", False)
    document = (await user.http.get(f"/api/v1/documents/{run['document_id']}")).json()
    assert document["state"] == document["pending"]["state"] == "failed"
    assert (await user.http.get(f"/api/v1/documents/{run['document_id']}/text")).status_code == 404


@pytest.mark.parametrize(
    ("name", "data", "status", "code"),
    [
        ("programme.exe", b"MZ", 415, "unsupported_type"),
        ("noname", b"text", 415, "unsupported_type"),
        ("picture.pdf", b"\x89PNG\r\n\x1a\n", 400, "type_mismatch"),
        ("really.txt", b"%PDF-1.7\n", 400, "type_mismatch"),
        ("empty.txt", b"", 422, "empty_file"),
    ],
)
async def test_an_upload_that_cannot_be_right_is_refused_at_the_door(
    user: User, name: str, data: bytes, status: int, code: str
) -> None:
    response = await user.http.post("/api/v1/documents", files={"file": (name, data)})

    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["code"] == code
    assert (await user.http.get("/api/v1/documents")).json()["items"] == []


async def test_a_large_file_is_refused_before_it_is_read_whole(user: User) -> None:
    sent = 0

    async def endless():
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="big.txt"\r\n\r\n'
        while sent < 50_000_000:
            sent += 100_000
            yield b"a" * 100_000

    response = await user.http.post(
        "/api/v1/documents", content=endless(), headers={"Content-Type": "multipart/form-data; boundary=x"}
    )

    assert (response.status_code, response.json()["code"]) == (413, "file_too_large")
    assert sent < 12_000_000


async def test_a_claimed_length_beyond_the_limit_is_refused_at_once(user: User) -> None:
    response = await user.http.post(
        "/api/v1/documents",
        content=b"",
        headers={"Content-Type": "multipart/form-data; boundary=x", "Content-Length": "99000000"},
    )

    assert (response.status_code, response.json()["code"]) == (413, "file_too_large")


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"no parts at all", "multipart/form-data; boundary=x"),
        (b"--x\r\n", "multipart/form-data; boundary=x"),
        (b"{}", "application/json"),
        (b"", "multipart/form-data"),
    ],
)
async def test_a_broken_multipart_body_is_a_malformed_request(user: User, body: bytes, content_type: str) -> None:
    response = await user.http.post("/api/v1/documents", content=body, headers={"Content-Type": content_type})

    assert (response.status_code, response.json()["code"]) == (400, "malformed_request")


@pytest.mark.parametrize(
    "fields", [{"metadata": "[1]"}, {"metadata": "{"}, {"nonsense": "1"}, {"on_duplicate": "maybe"}]
)
async def test_fields_that_make_no_sense_are_refused(user: User, fields: dict[str, str]) -> None:
    response = await user.http.post("/api/v1/documents", files={"file": ("a.txt", b"text")}, data=fields)

    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")


async def test_another_tenant_sees_nothing_of_a_document(quiet: Platform, user: User) -> None:
    run = await user.upload("secret.txt", b"The combination is 7731.")
    stranger = await quiet.user()
    document, workflow = run["document_id"], run["workflow_id"]

    for path in (
        f"/api/v1/documents/{document}",
        f"/api/v1/documents/{document}/text",
        f"/api/v1/documents/{document}/content",
        f"/api/v1/runs/{workflow}",
    ):
        assert (await stranger.http.get(path)).json()["code"] == "not_found"
    assert (await stranger.http.get("/api/v1/documents")).json()["items"] == []
    assert (await stranger.http.post("/api/v1/search", json={"query": "combination"})).json()["results"] == []
    scoped = {"query": "combination", "document_ids": [document]}
    assert (await stranger.http.post("/api/v1/search", json=scoped)).status_code == 404
    assert (await stranger.http.post(f"/api/v1/runs/{workflow}/cancel")).status_code == 404


async def test_a_search_in_an_unknown_collection_is_404(user: User) -> None:
    response = await user.http.post("/api/v1/search", json={"query": "tide", "collection": "nowhere"})

    assert response.status_code == 404
