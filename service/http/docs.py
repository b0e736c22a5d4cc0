"""The page that shows the OpenAPI document: Swagger UI, of one version, and nothing else that a browser could load.

Swagger UI comes from a CDN, since it is larger than the service. The page names the hash of each file, so that a
browser runs those very bytes or none; the policy allows these two, the line that starts them, and the service itself.
"""

import base64
import hashlib

from fastapi import APIRouter
from starlette.responses import HTMLResponse, Response

_CDN = "https://cdn.jsdelivr.net/npm/swagger-ui-dist@5.35.0/"
_SCRIPT = f"{_CDN}swagger-ui-bundle.js"
_SCRIPT_HASH = "sha384-gjRm0bEPMeTmMh5jT2cHccIwCUZSTd8YC+j0d0sXw0MdGEfScduGpSyF3ZSSLkX9"
_STYLE = f"{_CDN}swagger-ui.css"
_STYLE_HASH = "sha384-WlYgdmXYOOBWL5apwjDEZwN+U3HmXSSu5R6V5aGxEcf7z+KuRNwBhoxKVN1i3D5I"
_START = 'SwaggerUIBundle({url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null});'
_START_HASH = "sha256-" + base64.b64encode(hashlib.sha256(_START.encode()).digest()).decode()

_PAGE = f"""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>mos-guard</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{_STYLE}" integrity="{_STYLE_HASH}" crossorigin="anonymous">
</head>
<body>
<div id="swagger-ui"></div>
<script src="{_SCRIPT}" integrity="{_SCRIPT_HASH}" crossorigin="anonymous"></script>
<script>{_START}</script>
</body>
</html>
"""
# Swagger UI draws with pictures that it holds itself.
_POLICY = (
    f"default-src 'none'; script-src {_SCRIPT} '{_START_HASH}'; style-src {_STYLE}; "
    "img-src data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

router = APIRouter()


@router.get("/docs", include_in_schema=False)
async def docs() -> Response:
    """Show the OpenAPI document of this service."""
    return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _POLICY})
