"""Who may upload, download and delete files."""

from datetime import UTC, datetime, timedelta

import pytest

from app.db import Database
from tests.conftest import Person
from tests.documents import ARCHIVE, LEAVE, REMOVE_MEMBER, create_channel, denial, open_dm, select, set_role
from tests.follower import following
from tests.uploads import DELETE_FILE, DOWNLOAD, READ_FILE, Sent, download, refused_upload, send_file, upload


async def test_members_upload(alice: Person, bob: Person, carol: Person, root: Person, database: Database) -> None:
    public = await create_channel(alice, "public", members=(bob,))
    private = await create_channel(alice, "private", private=True, members=(bob,))
    dm = await open_dm(alice, bob)
    for channel in (public, private, dm):
        assert await upload(bob, channel)
        for outsider in (carol, root):
            code = "NOT_MEMBER" if channel == public else "NOT_FOUND"
            assert (await refused_upload(database, outsider, channel, Sent()))[0] == code
    assert await refused_upload(database, bob, "nonsense", Sent()) == ("NOT_FOUND", ["channelId"])


async def test_nothing_is_asked_of_a_file_whose_sender_may_not(bob: Person, alice: Person, database: Database) -> None:
    channel = await create_channel(alice)
    assert (await refused_upload(database, bob, channel, Sent(b"")))[0] == "NOT_MEMBER"


async def test_an_archived_channel_takes_no_files(alice: Person, database: Database) -> None:
    channel = await create_channel(alice)
    file = await upload(alice, channel, key="k")
    await alice.ask(ARCHIVE, channelId=channel, archived=True)
    assert (await refused_upload(database, alice, channel, Sent()))[0] == "CHANNEL_ARCHIVED"
    assert (await send_file(alice, channel, Sent(), key="k"))["file"]["id"] == file  # as of any other retry
    assert await download(alice, file)
    assert (await alice.ask(DELETE_FILE, fileId=file))["file"] is None


async def test_uploaders_and_moderators_delete(alice: Person, bob: Person, carol: Person, database: Database) -> None:
    channel = await create_channel(alice, members=(bob, carol))
    file = await upload(bob, channel)
    assert (await denial(database, carol, DELETE_FILE, fileId=file)).code == "ROLE_TOO_LOW"
    assert (await bob.ask(DELETE_FILE, fileId=file))["cursor"] is not None
    file = await upload(bob, channel)
    await set_role(alice, channel, carol, "MODERATOR")
    follower = await following(bob)
    await carol.ask(DELETE_FILE, fileId=file)
    [event] = await follower.events()
    assert (event["type"], event["actor"], event["fileId"], event["file"]) == (
        "FILE_DELETED",
        {"name": "carol"},
        file,
        None,
    )
    assert await bob.ask(READ_FILE, id=file) is None
    assert (await denial(database, carol, DELETE_FILE, fileId=file)).code == "NOT_FOUND"


async def test_who_left_deletes_nothing(alice: Person, bob: Person, database: Database) -> None:
    channel = await create_channel(alice, members=(bob,))
    file = await upload(bob, channel)
    await bob.ask(LEAVE, channelId=channel)
    assert (await denial(database, bob, DELETE_FILE, fileId=file)).code == "NOT_MEMBER"


async def test_members_download_while_they_are(alice: Person, bob: Person, carol: Person, database: Database) -> None:
    channel = await create_channel(alice, members=(bob,))
    file = await upload(alice, channel)
    assert (await carol.ask(READ_FILE, id=file))["id"] == file  # public: to be seen, but not to be had
    assert (await denial(database, carol, DOWNLOAD, fileId=file)).code == "NOT_MEMBER"
    url = await download(bob, file)
    await alice.ask(REMOVE_MEMBER, channelId=channel, userId=bob.id)
    assert (await denial(database, bob, DOWNLOAD, fileId=file)).code == "NOT_MEMBER"
    assert (await bob.http.get(url)).content == Sent().content  # to its end


async def test_a_download_is_told_of_without_its_address(alice: Person, bob: Person, database: Database) -> None:
    channel = await create_channel(alice, members=(bob,))
    file = await upload(alice, channel)
    follower = await following(alice)
    before = datetime.now(UTC)
    made = await bob.ask(DOWNLOAD, fileId=file, ttl=60)
    [event] = await follower.events()
    assert (event["type"], event["actor"]["name"], event["fileId"]) == ("FILE_DOWNLOAD_URL_CREATED", "bob", file)
    assert event["expiresAt"] == made["download"]["expiresAt"]
    assert event["cursor"] == made["cursor"]
    left = datetime.fromisoformat(event["expiresAt"]) - before
    assert timedelta(seconds=59) < left < timedelta(seconds=90)
    [(payload,)] = await select(database, "SELECT payload FROM stream_events WHERE type = 'FILE_DOWNLOAD_URL_CREATED'")
    assert payload.keys() == {"file", "expires_at"}


@pytest.mark.parametrize("ttl", [0, -1, 3601, 2**31 - 1])
async def test_an_address_lives_an_hour_at_most(alice: Person, database: Database, ttl: int) -> None:
    file = await upload(alice, await create_channel(alice))
    refused = await denial(database, alice, DOWNLOAD, fileId=file, ttl=ttl)
    assert (refused.code, refused.field) == ("INVALID_INPUT", ["ttlSeconds"])
    for allowed in (1, 3600, None):
        assert await download(alice, file, ttl=allowed)


async def test_a_forged_address_opens_nothing(alice: Person) -> None:
    file = await upload(alice, await create_channel(alice))
    url = await download(alice, file)
    for forged in (url.replace("signature=", "signature=x"), url.split("?")[0], url + "&inline=1"):
        assert (await alice.http.get(forged)).status_code == 403
