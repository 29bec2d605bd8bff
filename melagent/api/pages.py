"""The editor: the page of a browser application, and the files that it loads.

Names of files hold a hash of what is in them, so browsers keep them for good. The page is asked for each time and says,
by its policy, that nothing runs in it but those files.
"""

from __future__ import annotations

import secrets
from importlib import resources

from aiohttp import web

from melagent.api.context import BUILT_EDITOR
from melagent.errors import NotFound

PATHS = (
    "/",
    "/sign-in",
    "/setup",
    "/workflows",
    "/workflows/{rest:.+}",
    "/runs",
    "/runs/{rest:.+}",
    "/triggers",
    "/connections",
    "/cluster",
    "/settings",
    "/settings/{rest:.+}",
)
"""Where the page is: the application shows what belongs to its address. `web/src/app/Pages.tsx` has the same."""

NONCE = "__NONCE__"  # as web/vite.config.ts has it
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; img-src 'self' data: blob:; "
    "font-src 'self'; connect-src 'self'; worker-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
PAGE_HEADERS = {"Cache-Control": "private, no-cache", "Referrer-Policy": "same-origin"}
ASSET_HEADERS = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
PLAIN_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)


async def page(request: web.Request) -> web.Response:
    """The editor. Without a build, a page that says how to make one; setting up works there as well."""
    editor = request.app[BUILT_EDITOR]
    if editor.page is None:
        return _plain("setup.html", 200) if request.path == "/setup" else _plain("unbuilt.html", 503)
    if any(etag.value in (editor.etag, "*") for etag in request.if_none_match or ()):
        # The browser keeps the policy that came with the page it has: another nonce would not fit that page.
        return web.Response(status=304, headers={"ETag": f'"{editor.etag}"', **PAGE_HEADERS})
    nonce = secrets.token_urlsafe(16)
    headers = {"ETag": f'"{editor.etag}"', "Content-Security-Policy": POLICY.format(nonce=nonce), **PAGE_HEADERS}
    return web.Response(text=editor.page.replace(NONCE, nonce), content_type="text/html", headers=headers)


async def asset(request: web.Request) -> web.Response:
    """A file that the editor loads."""
    found = request.app[BUILT_EDITOR].assets.get(request.match_info["name"])
    if found is None:
        raise NotFound("There is no such file in this version of the editor.")
    encoding, body = found.body_for(request.headers.get("Accept-Encoding", ""))
    encoded = {} if encoding == "identity" else {"Content-Encoding": encoding}
    return web.Response(body=body, content_type=found.media_type, headers={**ASSET_HEADERS, **encoded})


def _plain(name: str, status: int) -> web.Response:
    """A page that needs no build."""
    text = resources.files(__package__).joinpath(name).read_text()
    headers = {"Content-Security-Policy": PLAIN_POLICY, "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
    return web.Response(text=text, status=status, content_type="text/html", headers=headers)
