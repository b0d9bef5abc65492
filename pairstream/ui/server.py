"""The thin shell around the pages: aiohttp in front, a page in a thread behind.

Nothing is answered before the guard has let it in, and every answer carries the same headers.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import structlog
from aiohttp import web

from pairstream.ui.access import (
    HEADERS,
    is_host_ours,
    is_post_ours,
    knows_token,
)
from pairstream.ui.rendering import Renderer
from pairstream.ui.routes import ROUTES
from pairstream.ui.site import Answer, Asked, Handler, NotFound, Page, Redirect, Site, Text
from schemas.errors import PairstreamError

log = structlog.get_logger()

STATIC = Path(__file__).with_name("static")
FORM_MAX_BYTES = 64 * 1024

Middleware = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Guard:
    """Whom the site answers: callers who know `token`, if there is one, by one of its `names`."""

    token: str | None
    names: Collection[str]


def make_app(site: Site, guard: Guard) -> web.Application:
    renderer = Renderer(site)
    app = web.Application(
        middlewares=[_framed(renderer), _guarded(guard)], client_max_size=FORM_MAX_BYTES
    )
    for method, path, handler in ROUTES:
        add = app.router.add_get if method == "GET" else app.router.add_post  # with GET goes HEAD
        add(path, _served(site, renderer, handler))
    app.router.add_static("/static", STATIC)
    return app


def _framed(renderer: Renderer) -> Callable[..., Awaitable[web.StreamResponse]]:
    """The same headers on everything, and a page for every error."""

    @web.middleware
    async def middleware(request: web.Request, handler: Middleware) -> web.StreamResponse:
        try:
            response = await handler(request)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            response = _error(renderer, error.status, error.text or error.reason)
            response.headers.update(
                {k: v for k, v in error.headers.items() if k in ("WWW-Authenticate", "Allow")}
            )
        except Exception:  # whatever a request holds, its answer is one of ours
            log.exception("request_failed", method=request.method, path=request.path)
            response = _error(renderer, 500, "this failed: the log of `pairstream ui` says why")
        response.headers.update(HEADERS)
        if not request.path.startswith("/static/"):
            response.headers["Cache-Control"] = "no-store"
        return response

    return middleware


def _guarded(guard: Guard) -> Callable[..., Awaitable[web.StreamResponse]]:
    @web.middleware
    async def middleware(request: web.Request, handler: Middleware) -> web.StreamResponse:
        host = request.headers.get("Host")
        if not is_host_ours(host, guard.names):
            raise web.HTTPMisdirectedRequest(
                text="this name is not one of the site's: `pairstream ui --name NAME` adds it"
            )
        authorization = request.headers.get("Authorization")
        if guard.token is not None and not knows_token(authorization, guard.token):
            raise web.HTTPUnauthorized(
                text="the site wants its token, as the password; any user name will do",
                headers={"WWW-Authenticate": 'Basic realm="pairstream", charset="UTF-8"'},
            )
        if request.method == "POST" and not is_post_ours(
            host, request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
        ):
            raise web.HTTPForbidden(text="forms are taken from the site's own pages only")
        return await handler(request)

    return middleware


def _served(
    site: Site, renderer: Renderer, handler: Handler
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """One page in a thread: it reads files, the index and, rarely, a topic."""

    async def serve(request: web.Request) -> web.StreamResponse:
        began = time.perf_counter()
        form = await request.post() if request.method == "POST" else {}
        asked = Asked(
            request.match_info,
            request.query,
            {name: value for name, value in form.items() if isinstance(value, str)},
        )
        response = await asyncio.to_thread(_answered, site, renderer, handler, asked)
        spent = 1000 * (time.perf_counter() - began)
        response.headers["Server-Timing"] = f"page;dur={spent:.1f}"
        return response

    return serve


def _answered(site: Site, renderer: Renderer, handler: Handler, asked: Asked) -> web.Response:
    try:
        answer = handler(site, asked)
        return _response(renderer, answer)
    except NotFound as error:
        return _error(renderer, 404, str(error))
    except PairstreamError as error:
        return _error(renderer, 503, str(error))
    except Exception:  # a slip in one page takes down no other
        log.exception("page_failed", handler=handler.__name__)
        return _error(renderer, 500, "this page failed: the log of `pairstream ui` says why")


def _response(renderer: Renderer, answer: Answer) -> web.Response:
    match answer:
        case Page():
            return _html(renderer.page(answer), answer.status)
        case Text():
            name = quote(answer.file_name)
            return web.Response(
                body=answer.content,
                content_type="text/plain",
                charset="utf-8",
                headers={"Content-Disposition": f"attachment; filename*=UTF-8''{name}"},
            )
        case Redirect():
            return web.Response(status=303, headers={"Location": answer.to})


def _error(renderer: Renderer, status: int, problem: str) -> web.Response:
    values = {"problem": problem, "status": status}
    return _html(renderer.page(Page("error.html", "Something is wrong", values)), status)


def _html(text: str, status: int) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/html", charset="utf-8")
