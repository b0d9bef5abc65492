"""The site over HTTP, beside files that go, are damaged, or hold what nobody expects."""

import http.client
import sqlite3
from pathlib import Path

import pytest

from pairstream.ui.index_tables import FILE
from tests.commands.deployment import Deployment, attempted, proposed, started
from tests.commands.test_models import make_model
from tests.trainer.judged import GOOD
from tests.trainer.made_pairs import make_pairs
from tests.trainer.stand_in import publish
from tests.ui.sites import NO_BROKER, SiteProcess
from trainer.layout import DataDir
from trainer.training_manifest import read_training, write_training

pytestmark = pytest.mark.long

PAGE_BYTES = 4096

PAIRS = make_pairs(300)


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    return publish(tmp_path / "data", PAIRS)


def open_site(data: DataDir, tmp_path: Path) -> SiteProcess:
    return SiteProcess({**NO_BROKER, "PAIRSTREAM_DATA_DIR": str(data.root)}, home=tmp_path / "site")


def is_whole(text: str) -> bool:
    return f"{len(PAIRS)} in all" in text


def damage(path: Path) -> None:
    """All but its head."""
    database = sqlite3.connect(path)
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    with path.open("r+b") as file:
        for place in range(PAGE_BYTES, path.stat().st_size, PAGE_BYTES):
            file.seek(place)
            file.write(b"\xff" * 64)


def test_an_index_that_goes_or_is_damaged_is_made_anew(data: DataDir, tmp_path: Path) -> None:
    path = data.root / FILE
    with open_site(data, tmp_path) as site:
        site.wait_for("/pairs", is_whole)
        for each in data.root.glob(f"{FILE}*"):
            each.unlink()
        gone = site.get("/pairs")
        if gone.status != 200:  # it may be back by now
            assert gone.status == 503
            assert "the index cannot be read" in gone.text
        site.wait_for("/pairs", is_whole)

        damage(path)
        damaged = site.get("/pairs")
        assert damaged.status == 503
        assert "it is made anew now" in damaged.text
        site.wait_for("/pairs", is_whole)


def test_figures_that_are_no_numbers_take_no_page_down(data: DataDir, tmp_path: Path) -> None:
    name = "dpo-ds-000001"
    make_model(data, name, GOOD, days=0)
    ended = read_training(data.models / name)
    assert ended is not None
    assert ended.figures is not None
    with open_site(data, tmp_path) as site:
        for candidate in ({"accuracy": "high", "margin": [1]}, {"accuracy": {}}, "none", 10**400):
            ended.figures["gate"] = {"candidate": candidate}
            ended.figures["pairs"] = {"all": "many"}
            write_training(data.models / name, ended)
            for path in ("/models", f"/models/{name}", "/trainings", f"/trainings/{name}"):
                reply = site.get(path)
                assert (reply.status, name in reply.text) == (200, True), path


def test_head_is_answered_as_get_without_a_body(live: SiteProcess) -> None:
    asked = http.client.HTTPConnection(live.url.removeprefix("http://"))
    for path, status in (("/", 200), ("/nowhere", 404), ("/models/x/promote", 404)):
        asked.request("HEAD", path)
        reply = asked.getresponse()
        assert (reply.status, reply.read()) == (status, b"")
        assert int(reply.headers["Content-Length"]) > 0
    asked.close()


def test_events_read_anew_show_what_came_since(
    live: SiteProcess, live_deployment: Deployment
) -> None:
    run_id = "goes on & on"
    live_deployment.say(started(run_id), proposed(run_id))
    live.wait_for("/run", lambda text: "strategy.proposed" in text, id=run_id)
    live_deployment.say(attempted(run_id, 1, 0))

    reply = live.get("/run", id=run_id, anew=1)

    assert (reply.status, reply.headers["Location"]) == (303, "/run?id=goes+on+%26+on")
    live.wait_for("/run", lambda text: "code.attempted" in text, id=run_id)
