"""The HTTP application: routers, middleware, error handlers. What it can do is handed in."""

from fastapi import FastAPI

from api import errors
from api.edge import BodyLimit, Edge
from api.routes import accounts, chat, documents, health, keys, runs, search, usage, users
from infra.services import Services
from infra.version import VERSION


def create_app(services: Services) -> FastAPI:
    docs = services.settings.docs
    app = FastAPI(
        title="Moorage",
        version=VERSION,
        docs_url="/docs" if docs else None,
        redoc_url="/redoc" if docs else None,
        openapi_url="/openapi.json" if docs else None,
    )
    app.state.services = services
    for module in (accounts, keys, users, chat, documents, search, runs, usage, health):
        app.include_router(module.router)
    errors.install(app)
    app.add_middleware(BodyLimit, unlimited=frozenset({documents.PATH}))
    app.add_middleware(Edge)  # added last, so outermost
    return app
