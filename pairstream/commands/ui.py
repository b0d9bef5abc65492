"""`pairstream ui`."""

import importlib.util
from pathlib import Path
from typing import Any

import click

from pairstream.settings_loader import load, settings_options
from schemas.errors import PairstreamError
from schemas.settings import DataSettings, TrainerSettings, UiSettings, WorkerSettings

NEEDS = ("aiohttp", "jinja2", "markupsafe")


@click.command("ui")
@click.option("--host", "ui_host", metavar="ADDRESS",
              help="Where it listens; elsewhere than on loopback it wants a token.  "
              "[default: 127.0.0.1]")  # fmt: skip
@click.option("--port", "ui_port", metavar="PORT", type=click.IntRange(0, 65535),
              help="Its port; 0: any that is free.  [default: 8321]")  # fmt: skip
@click.option("--name", "names", multiple=True, metavar="NAME",
              help="A further name by which browsers reach it, as behind a proxy; may stand "
              "several times.")  # fmt: skip
@click.option("--token-file", "ui_token_file", metavar="FILE",
              help="A file with the token that callers must know.")  # fmt: skip
@click.option("--rebuild", is_flag=True, help="First forget the index, and make it anew.")
@settings_options(DataSettings)
def command(config_file: Path | None, names: tuple[str, ...], rebuild: bool, **flags: Any) -> None:
    """Show it all in a browser: what flows, what comes of runs, pairs, datasets, trainings, models.

    A site made on the server, until Ctrl-C or SIGTERM. What it lists stands in an index,
    ui.sqlite in the data directory, made from the topics and files and kept up to date; it may be
    deleted. Models are promoted and rolled back there, everything else is only looked at. Where
    no broker answers, it shows what the files tell.

    It listens on loopback. Elsewhere it wants PAIRSTREAM_UI_TOKEN or PAIRSTREAM_UI_TOKEN_FILE,
    and callers give the token as the password (any user name), or as `Authorization: Bearer`.
    Put a proxy with TLS before it where the network is not yours. Needs pairstream[ui].

    \b
    Example:
      pairstream ui --data-dir ./pairstream-data --port 8321
    """
    settings = load(UiSettings, config_file, flags)
    missing = [name for name in NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        raise PairstreamError(
            f"the site needs {', '.join(missing)}: install pairstream with the extra `ui`, as in "
            "pip install '.[ui]'"
        )

    from pairstream.logs import set_up_logs
    from pairstream.ui.access import check_token
    from pairstream.ui.serving import serve
    from pairstream.ui.site import SiteSettings

    check_token(settings.ui_host, settings.ui_token)
    set_up_logs()
    shown = SiteSettings(
        load(TrainerSettings, config_file, flags), load(WorkerSettings, config_file, flags)
    )
    serve(settings, shown, token=settings.ui_token, names=names, rebuild=rebuild, say=click.echo)
