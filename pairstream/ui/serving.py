"""Runs the site until it is told to stop."""

import asyncio
import signal
from collections.abc import Callable, Collection

from aiohttp import web

from pairstream.addresses import authority
from pairstream.ui.index_tables import FILE, LOCK, remove
from pairstream.ui.server import Guard, make_app
from pairstream.ui.site import Site, SiteSettings, open_site
from schemas.errors import PairstreamError
from schemas.settings import UiSettings
from trainer.layout import folder_lock, make_folder

Say = Callable[[str], None]

LEAVE_SECONDS = 3.0


def serve(
    settings: UiSettings,
    shown: SiteSettings,
    *,
    token: str | None,
    names: Collection[str],
    rebuild: bool,
    say: Say,
) -> None:
    """Until SIGINT or SIGTERM.

    Raises: PairstreamError when the port is taken, or another site keeps the same index.
    """
    lock = settings.data_dir / LOCK
    try:
        make_folder(lock)
    except OSError as error:
        raise PairstreamError(
            f"{settings.data_dir} cannot be written ({error.strerror}): the site keeps its index "
            "there; name another --data-dir"
        ) from error
    try:
        with folder_lock(lock, wait=False):
            if rebuild:
                remove(settings.data_dir / FILE)
            with open_site(shown) as site:
                guard = Guard(token, {name.lower() for name in (*names, settings.ui_host)})
                asyncio.run(_serve(site, guard, settings, say))
    except BlockingIOError as error:
        raise PairstreamError(
            f"another `pairstream ui` keeps the index in {settings.data_dir}: stop it, or name "
            "another --data-dir"
        ) from error


async def _serve(site: Site, guard: Guard, settings: UiSettings, say: Say) -> None:
    runner = web.AppRunner(make_app(site, guard), access_log=None, shutdown_timeout=LEAVE_SECONDS)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.ui_host, settings.ui_port).start()
        at = authority(settings.ui_host, runner.addresses[0][1])
        say(f"pairstream ui at http://{at}/ (Ctrl-C ends it)")
        await _asked_to_stop()
    except OSError as error:
        raise PairstreamError(
            f"{settings.ui_host}, port {settings.ui_port} cannot be listened on "
            f"({error.strerror or error}): name another --port"
        ) from error
    finally:
        await runner.cleanup()


async def _asked_to_stop() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
