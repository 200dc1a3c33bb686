# SPDX-License-Identifier: MIT
"""FastAPI with supertokens-python: its middleware, and verify_session() on the page; served by uvicorn."""

from __future__ import annotations

from typing import Annotated

import keys
import uvicorn
from fastapi import Depends, FastAPI, Request
from fastapi.responses import HTMLResponse
from fastapi.templating import Jinja2Templates
from parts import TEMPLATES, announce, listen, log_into_nothing, rows
from supertokens_python import InputAppInfo, SupertokensConfig, init
from supertokens_python.framework.fastapi import get_middleware
from supertokens_python.recipe import session
from supertokens_python.recipe.session import SessionContainer
from supertokens_python.recipe.session.framework.fastapi import verify_session

site = FastAPI()
templates = Jinja2Templates(TEMPLATES)


@site.get("/page", response_class=HTMLResponse)
async def page(
    request: Request, found: Annotated[SessionContainer, Depends(verify_session())]
) -> HTMLResponse:
    context = {"user_id": found.get_user_id(), "rows": rows()}
    return templates.TemplateResponse(request, "page.html", context)


if __name__ == "__main__":
    core, token = keys.start()
    init(
        supertokens_config=SupertokensConfig(connection_uri=core),
        app_info=InputAppInfo(
            app_name="Peer", api_domain="http://localhost:1", website_domain="http://localhost:1"
        ),
        framework="fastapi",
        recipe_list=[session.init()],
        mode="asgi",
        telemetry=False,
    )
    site.add_middleware(get_middleware())
    listening = listen()
    announce(listening, f"sAccessToken={token}")
    log_into_nothing()
    uvicorn.Server(uvicorn.Config(site)).run(sockets=[listening])
