"""Serves the page: the files that lie beside this module, by their names, and the calibration's picture."""

from pathlib import Path

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from service.serving.guard import Guard

_FOLDER = Path(__file__).parent
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
# Read at start-up: what is not among them is not there, whatever a path says.
_PAGE = (_FOLDER / "page.html").read_bytes()
_FILES = {file.name: file.read_bytes() for file in _FOLDER.iterdir() if file.suffix in _TYPES}

# Scripts and styles are files of our own, never inline; pictures are the browser's own copies of what it was given.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
}

router = APIRouter(include_in_schema=False)


@router.get("/")
async def page() -> Response:
    """Show the page."""
    return Response(_PAGE, media_type="text/html", headers=_HEADERS)


@router.get("/page/{name}")
async def file(name: str) -> Response:
    """Return one of the page's files."""
    if name not in _FILES:
        raise HTTPException(404)
    return Response(_FILES[name], media_type=_TYPES[Path(name).suffix])


@router.get("/model/card.png")
async def card_picture(request: Request) -> Response:
    """Return the score distributions that the calibration in force drew; 204 where it drew none."""
    guard: Guard = request.app.state.serving.swap.guard
    if guard.card_picture is None:
        return Response(status_code=204)  # nothing is wrong, and a 404 would be an error in every browser's console
    return Response(guard.card_picture, media_type="image/png")
