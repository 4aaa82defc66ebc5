"""Reactions whose image is uploaded."""

import re

import httpx
import pytest
from starlette.applications import Starlette

from app.db import Database
from app.services.reaction_images import MAX_BYTES
from app.services.stored_objects import remove_due
from tests.conftest import Person
from tests.documents import CREATE_REACTION, DELETE_REACTION, denial, scalar, snapshot
from tests.follower import following
from tests.uploads import Sent, image, objects, png, send_form

ADDRESS = re.compile(r"http://127\.0\.0\.1:8000(/reaction-images/[a-z0-9]{32}\.png)")


async def create(person: Person, sent: Sent, code: str = "zebra") -> dict[str, object]:
    """The payload of `createReaction`."""
    body = await send_form(person, CREATE_REACTION, {"input.image": sent}, input={"code": code, "image": None})
    assert "errors" not in body, body
    payload: dict[str, object] = body["data"]["createReaction"]
    return payload


async def path_of(person: Person, sent: Sent) -> tuple[str, str]:
    """Id and path of a new reaction."""
    payload = await create(person, sent)
    assert payload["errors"] == [], payload
    reaction = payload["reaction"]
    assert isinstance(reaction, dict)
    match = ADDRESS.fullmatch(reaction["imageUrl"])
    assert match is not None, reaction
    return reaction["id"], match[1]


async def test_an_image_is_shown_to_whoever_has_its_address(root: Person, http: httpx.AsyncClient) -> None:
    follower = await following(root)
    _, path = await path_of(root, image(20, 10))
    assert [event["type"] for event in await follower.events()] == ["REACTION_CATALOGUE_CHANGED"]
    answer = await http.get(path)
    assert (answer.status_code, answer.headers["cache-control"]) == (302, "public, max-age=1800")
    shown = await http.get(answer.headers["location"])
    assert (shown.status_code, shown.content) == (200, png(20, 10))
    assert shown.headers["content-type"] == "image/png"
    assert shown.headers["content-disposition"].startswith("inline;")
    assert shown.headers["x-content-type-options"] == "nosniff"


async def test_a_deleted_reaction_has_no_image(
    root: Person, http: httpx.AsyncClient, app: Starlette, database: Database
) -> None:
    there = objects(app)
    reaction, path = await path_of(root, image())
    follower = await following(root)
    await root.ask(DELETE_REACTION, reactionId=reaction)
    assert (await http.get(path)).status_code == 404
    [event] = await follower.events()
    assert event["reaction"] == {"code": "zebra"}
    assert await remove_due(database, app.state.services.storage) == 1
    assert objects(app) == there
    assert await scalar(database, "SELECT count(*) FROM stored_objects") == 0


@pytest.mark.parametrize("path", ["x", "x.png", "a" * 32 + ".png", "a" * 32 + ".svg", "..%2f..%2fetc", "%00.png"])
async def test_there_is_nothing_else(http: httpx.AsyncClient, path: str) -> None:
    assert (await http.get(f"/reaction-images/{path}")).status_code == 404


@pytest.mark.parametrize(
    "sent, code",
    [
        (Sent(b""), "FILE_EMPTY"),
        (Sent(b"Hello"), "FILE_TYPE_NOT_ALLOWED"),
        (Sent(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "a.svg", "image/svg+xml"), "FILE_TYPE_NOT_ALLOWED"),
        (Sent(png(2, 2) + b"\0" * MAX_BYTES, "a.png", "image/png"), "FILE_TOO_LARGE"),
        (image(1025, 1), "INVALID_INPUT"),
        (image(1, 1025), "INVALID_INPUT"),
    ],
)
async def test_it_is_a_small_image(root: Person, app: Starlette, database: Database, sent: Sent, code: str) -> None:
    before, there = await snapshot(database), objects(app)
    payload = await create(root, sent)
    assert [(each["code"], each["field"]) for each in payload["errors"]] == [(code, ["image"])]  # type: ignore[attr-defined]  # JSON
    assert (await snapshot(database), objects(app)) == (before, there)


async def test_it_is_an_image_or_an_address(root: Person, database: Database) -> None:
    assert (await denial(database, root, CREATE_REACTION, input={"code": "zebra"})).code == "INVALID_INPUT"
    both = {"code": "zebra", "image": None, "imageUrl": "https://x.example/a.png"}
    body = await send_form(root, CREATE_REACTION, {"input.image": image()}, input=both)
    assert [error["code"] for error in body["data"]["createReaction"]["errors"]] == ["INVALID_INPUT"]


async def test_a_code_that_is_taken_keeps_no_image(root: Person, app: Starlette, database: Database) -> None:
    there = objects(app)
    payload = await create(root, image(), code="tada")
    assert [each["code"] for each in payload["errors"]] == ["REACTION_CODE_TAKEN"]  # type: ignore[attr-defined]  # JSON
    assert await remove_due(database, app.state.services.storage) == 1
    assert objects(app) == there


async def test_only_admins_upload_one(alice: Person, app: Starlette) -> None:
    there = objects(app)
    payload = await create(alice, image())
    assert [each["code"] for each in payload["errors"]] == ["FORBIDDEN"]  # type: ignore[attr-defined]  # JSON
    assert objects(app) == there
