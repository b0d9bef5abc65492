"""The site over HTTP: every page, beside a broker and without; who is let in; what is changed."""

import re
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from pairstream.__main__ import cli
from pairstream.ui.access import CONTENT_POLICY
from pairstream.ui.index_tables import FILE
from schemas.errors import InvalidSettings
from schemas.topics import PAIRS, RUN_EVENTS
from tests.commands.deployment import Deployment, mixed_run, parsed_pairs
from tests.commands.test_models import make_model
from tests.trainer.judged import GOOD, WORSE
from tests.trainer.made_pairs import make_pairs
from tests.trainer.stand_in import publish
from tests.ui.sites import NO_BROKER, Reply, SiteProcess
from trainer.latest import read_history, read_latest
from trainer.layout import DataDir

pytestmark = pytest.mark.long

TOKEN = "0123456789abcdef0123"

PAGES = {
    "/": "Lag by partition",
    "/yield": "From runs to pairs",
    "/yield?by=agent&name=cleaner-1": "of one agent",
    "/runs": "Settled runs, newest first",
    "/runs?kind=never_succeeded": "n-1",
    "/run?id=m-1": "SyntaxError",
    "/pairs": "Prompt, chosen and rejected",
    "/pairs?rule=mixed_code&run=m-1": "m-1",
    "/datasets": "ds-000002",
    "/datasets/ds-000001": "What it is made of",
    "/datasets/difference?a=ds-000001&b=ds-000002": "only in ds-000001",
    "/trainings": "step 40 of 60",
    "/trainings/dpo-ds-000003": "Log-probabilities",
    "/trainings/dpo-ds-000001": "What was told",
    "/models": "How the latest changed",
    "/models/dpo-ds-000002": "refused: margin",
    "/models/dpo-ds-000002/promote": "The gate refused this model",
}


def text_of(page: str) -> str:
    """Without markup and repeated space."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))


@pytest.mark.parametrize("path", PAGES)
def test_every_page_shows_what_is_there(live: SiteProcess, path: str) -> None:
    assert PAGES[path] in live.wait_for(path, lambda text: PAGES[path] in text)


@pytest.mark.parametrize("path", [*PAGES, "/nowhere", "/static/style.css", "/static/live.js"])
def test_every_answer_forbids_scripts_of_others(live: SiteProcess, path: str) -> None:
    headers = live.get(path).headers

    assert headers["Content-Security-Policy"] == CONTENT_POLICY
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Set-Cookie" not in headers


def test_an_answer_to_what_breaks_a_request_is_one_of_ours(live: SiteProcess) -> None:
    """Before any page is asked: its form is in a charset that there is none of."""
    kind = "application/x-www-form-urlencoded; charset=none-such"
    headers = {"Content-Type": kind, "Sec-Fetch-Site": "same-origin"}

    reply = live.post("/models/x/promote", {"a": "b"}, headers)

    assert reply.status == 500
    assert 'role="alert"' in reply.text
    assert "Traceback" not in reply.text
    assert reply.headers["Content-Security-Policy"] == CONTENT_POLICY
    assert "request_failed" in live.errors


@pytest.mark.parametrize(
    "path",
    ["/nowhere", "/datasets/ds-999999", "/datasets/..%2f..%2fmodels", "/models/latest",
     "/models/%2e%2e", "/trainings/..%2f..%2f..%2fetc", "/pair?id=xyz", "/pair?id=" + "0" * 32,
     "/run?id=", "/run?id=" + "x" * 300, "/yield?by=pairs&name=x", "/static/../server.py",
     "/static/%2e%2e/server.py"],
)  # fmt: skip
def test_what_is_not_there_is_not_found_and_says_so(live: SiteProcess, path: str) -> None:
    reply = live.get(path)

    assert reply.status == 404
    assert 'role="alert"' in reply.text


def test_stream_tells_what_the_commands_tell(
    live: SiteProcess, live_deployment: Deployment
) -> None:
    status = live_deployment.run_json("status")
    wanted = sum(status["cluster"]["outcomes"]["counts"].values())

    runs = f"settled runs {wanted} "
    open_runs = f"open runs {status['cluster']['open_runs']['counts']['runs']} "

    page = text_of(
        live.wait_for("/", lambda text: runs in text_of(text) and open_runs in text_of(text))
    )

    assert "never_succeeded" in page
    assert "dead letters 1" in page
    assert "bad-1" in page


def test_yield_shows_why_runs_gave_nothing_and_by_whom(live: SiteProcess) -> None:
    page = text_of(live.get("/yield").text)

    assert "none of its attempts scored above 0" in page
    assert "cleaner-1" in page
    picture = re.search(
        r'aria-label="(Runs by how they were settled, [^"]*)"', live.get("/yield").text
    )
    assert picture is not None
    assert "1 never_succeeded" in picture[1]


def test_a_pair_shows_both_sides_its_prompt_and_its_dataset(
    live: SiteProcess, live_deployment: Deployment
) -> None:
    [pair] = [each for each in parsed_pairs(live_deployment) if each.run_id == "m-1"]

    page = live.get("/pair", id=pair.pair_id).text

    assert "<del>os</del>.<del>remove</del>(name" in page
    assert "<ins>shutil</ins>.<ins>rmtree</ins>(name<ins>)</ins>" in page
    assert "Empty the cache of m-1." in page
    assert "ds-000001</a>, train.jsonl" in page
    chosen = live.get("/pair/text", id=pair.pair_id, part="chosen")
    assert chosen.body.decode() == pair.chosen[0].content
    assert chosen.headers["Content-Disposition"].startswith("attachment;")
    assert chosen.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert live.get("/pair/text", id=pair.pair_id, part="7").status == 404


def test_a_run_tells_its_whole_story(live: SiteProcess) -> None:
    page = live.wait_for("/run", lambda text: "run.started" in text, id="m-1")

    for told in ("run.started", "strategy.proposed", "did not compile", "success, score 12.5"):
        assert told in page
    whole = live.get("/run/text", id="m-1", event=2)
    assert '"SyntaxError' in whole.text
    assert whole.headers["Content-Type"] == "text/plain; charset=utf-8"


def test_a_run_that_is_open_or_unknown_says_so(live: SiteProcess) -> None:
    assert "if it stays silent" in live.wait_for("/run", lambda t: "if it stays" in t, id="open-1")
    assert "nothing is known" in live.wait_for("/run", lambda t: "nothing is known" in t, id="no")


def test_what_comes_is_on_the_pages_soon(live: SiteProcess, live_deployment: Deployment) -> None:
    run_id = f"late-{time.monotonic_ns()}"
    live_deployment.say(*mixed_run(run_id))
    live_deployment.settle()

    live.wait_for("/pairs", lambda text: run_id in text, run=run_id)
    assert run_id in live.wait_for("/runs", lambda text: run_id in text)


def test_rows_that_are_none_do_not_hold_up_the_index(
    live: SiteProcess, live_deployment: Deployment
) -> None:
    for value in (b"no json", b"{}", b'{"pair_id": "zz"}', None):
        live_deployment.send(live_deployment.names.topic(PAIRS), b"k", value)
    run_id = f"behind-{time.monotonic_ns()}"
    live_deployment.say(*mixed_run(run_id))
    live_deployment.settle()

    live.wait_for("/pairs", lambda text: run_id in text, run=run_id)


# --- Without a broker ----------------------------------------------------------------------------


@pytest.fixture
def shelf(tmp_path: Path) -> DataDir:
    """Two datasets with their models: the first is the latest, the gate refused the second."""
    for number, mark in enumerate("ab"):
        publish(tmp_path / "data", make_pairs(12, mark=mark), first=100 * number)
    data = DataDir(tmp_path / "data")
    make_model(data, "dpo-ds-000001", GOOD, days=0)
    make_model(data, "dpo-ds-000002", WORSE, days=1)
    return data


def test_without_a_broker_it_shows_what_the_files_tell(shelf: DataDir, tmp_path: Path) -> None:
    env = {**NO_BROKER, "PAIRSTREAM_DATA_DIR": str(shelf.root)}
    with SiteProcess(env, home=tmp_path / "site") as site:
        stream = text_of(site.wait_for("/", lambda text: "latest model" in text))
        assert "no broker answers at 127.0.0.1:1" in stream
        assert "latest model dpo-ds-000001" in stream
        assert "32 in all" in text_of(site.wait_for("/pairs", lambda text: "32 in all" in text))
        assert "ds-000002" in site.get("/datasets").text
        found = re.search(r"/pair\?id=([0-9a-f]{32})", site.get("/pairs").text)
        assert found is not None
        assert "Prompt" in site.get("/pair", id=found[1]).text
        run = site.wait_for("/run", lambda text: "no broker answers" in text, id="a-1")
        assert "mixed_code" in run
        assert 'role="alert"' not in run


def test_an_empty_folder_says_what_to_do(tmp_path: Path) -> None:
    env = {**NO_BROKER, "PAIRSTREAM_DATA_DIR": str(tmp_path / "new")}
    with SiteProcess(env, home=tmp_path / "site") as site:
        for path, advice in (
            ("/yield", "pairstream worker"), ("/pairs", "pairstream worker"),
            ("/datasets", "PAIRSTREAM_TRIGGER_PAIRS"), ("/trainings", "pairstream train DATASET"),
            ("/models", "training</a> has succeeded"), ("/runs", "pairstream worker"),
        ):  # fmt: skip
            reply = site.get(path)
            assert (reply.status, advice in reply.text) == (200, True), path


# --- Changes -------------------------------------------------------------------------------------


def form_token(page: str) -> str:
    found = re.search(r'name="form_token" value="([^"]+)"', page)
    assert found is not None
    return found[1]


def promote(site: SiteProcess, training: str, origin: str | None = None, **form: str) -> Reply:
    headers = {"Origin": origin or site.url}
    return site.post(f"/models/{training}/promote", form, headers)


def test_models_are_promoted_and_rolled_back_by_our_own_forms_alone(
    shelf: DataDir, tmp_path: Path
) -> None:
    env = {**NO_BROKER, "PAIRSTREAM_DATA_DIR": str(shelf.root)}
    with SiteProcess(env, home=tmp_path / "site") as site:
        token = form_token(site.get("/models/dpo-ds-000002/promote").text)
        whole = {"form_token": token, "refused": "on", "untold": "on", "why": "agents like it"}

        evil = promote(site, "dpo-ds-000002", "http://evil.example.com", **whole)
        no_origin = site.post("/models/dpo-ds-000002/promote", whole, {})
        forged = promote(site, "dpo-ds-000002", **{**whole, "form_token": "guessed"})
        unsure = promote(site, "dpo-ds-000002", **{**whole, "refused": ""})
        untold = promote(site, "dpo-ds-000002", **{**whole, "untold": ""})

        assert (evil.status, no_origin.status) == (403, 403)
        assert (forged.status, unsure.status, untold.status) == (409, 409, 409)
        assert "tick that you want it" in unsure.text
        assert "no broker answers" in untold.text
        assert read_latest(shelf.models) == "dpo-ds-000001"
        done = promote(site, "dpo-ds-000002", **whole)
        assert (done.status, done.headers["Location"]) == (303, "/models?changed=dpo-ds-000002")
        assert read_latest(shelf.models) == "dpo-ds-000002"
        assert read_history(shelf.models)[-1].why == "agents like it"
        assert "/models/dpo-ds-000001/rollback" in site.get("/models").text
        back = site.post("/models/dpo-ds-000001/rollback", whole, {"Origin": site.url})
        assert back.status == 303
        assert read_latest(shelf.models) == "dpo-ds-000001"


def test_a_promotion_is_told_in_the_topic(live: SiteProcess) -> None:
    token = form_token(live.get("/models/dpo-ds-000001/promote").text)

    done = promote(live, "dpo-ds-000001", form_token=token, why="said\x1b[31m again")

    assert done.status == 303
    told = live.wait_for("/trainings/dpo-ds-000001", lambda text: "by user: said" in text)
    assert "\x1b" not in told


# --- Who is let in -------------------------------------------------------------------------------


def test_elsewhere_than_on_loopback_it_wants_a_token(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    env = {**NO_BROKER, "PAIRSTREAM_UI_TOKEN_FILE": str(tmp_path / "token")}
    with SiteProcess(env, "--host", "0.0.0.0", home=tmp_path / "site") as site:
        site.url = site.url.replace("0.0.0.0", "127.0.0.1")
        for path in ("/", "/static/style.css", "/nowhere"):
            reply = site.get(path)
            assert (reply.status, TOKEN in reply.text) == (401, False)
            assert reply.headers["WWW-Authenticate"].startswith("Basic ")
        known = {"Authorization": f"Bearer {TOKEN}"}
        assert site.get("/yield", headers=known).status == 200
        for wrong in ("Bearer wrong", "Bearer \xff"):
            reply = site.get("/yield", headers={"Authorization": wrong})
            assert (reply.status, reply.headers["Content-Security-Policy"]) == (401, CONTENT_POLICY)
    assert TOKEN not in site.errors


@pytest.mark.parametrize("host", ["evil.example.com", "127.0.0.1.evil.com:80"])
def test_a_name_that_is_not_ours_is_refused(live: SiteProcess, host: str) -> None:
    assert live.get("/", headers={"Host": host}).status == 421


def test_without_a_token_it_does_not_start_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="PAIRSTREAM_UI_TOKEN"):
        CliRunner().invoke(
            cli, ["ui", "--host", "0.0.0.0", "--data-dir", str(tmp_path)], catch_exceptions=False
        )
    assert list(tmp_path.iterdir()) == []


# --- The index -----------------------------------------------------------------------------------


def test_the_index_is_made_anew_when_asked_for_or_gone(
    live_deployment: Deployment, tmp_path: Path
) -> None:
    env = {**live_deployment.env, "PAIRSTREAM_DATA_DIR": str(tmp_path / "data")}

    def is_whole(text: str) -> bool:
        return "index up to date" in text and "m-49" in text

    with SiteProcess(env, home=tmp_path / "one") as site:
        site.wait_for("/runs", is_whole)
        second = CliRunner().invoke(cli, ["ui", "--port", "0"], env=env)
        assert "another `pairstream ui`" in str(second.exception)
    with SiteProcess(env, home=tmp_path / "two") as site:
        site.wait_for("/runs", is_whole)
    with SiteProcess(env, "--rebuild", home=tmp_path / "three") as site:
        site.wait_for("/runs", is_whole)
    (tmp_path / "data" / FILE).write_bytes(b"damaged" * 1000)
    with SiteProcess(env, home=tmp_path / "four") as site:
        site.wait_for("/runs", is_whole)


def test_topics_of_another_cluster_make_the_index_anew(
    live_deployment: Deployment, embedded_broker: str, prefix: str, tmp_path: Path
) -> None:
    env = {**live_deployment.env, "PAIRSTREAM_DATA_DIR": str(tmp_path / "data")}
    with SiteProcess(env, home=tmp_path / "one") as site:
        site.wait_for("/runs", lambda text: "m-49" in text)
    other = Deployment(embedded_broker, prefix, tmp_path / "other")
    other.say(*mixed_run("of-another"))
    other.settle()

    with SiteProcess({**other.env, "PAIRSTREAM_DATA_DIR": env["PAIRSTREAM_DATA_DIR"]},
                     home=tmp_path / "two") as site:  # fmt: skip
        page = site.wait_for("/runs", lambda text: "of-another" in text)
        assert "m-49" not in page
    assert other.names.topic(RUN_EVENTS) != live_deployment.names.topic(RUN_EVENTS)
