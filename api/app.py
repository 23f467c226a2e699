"""The HTTP application: routers, middleware, error handlers. What it can do is handed in."""

from fastapi import FastAPI

from api import errors
from api.admission import Admission
from api.edge import BodyLimit, Edge
from api.gate import Gate, Origins
from api.load import Load
from api.rates import AddressPace
from api.routes import accounts, answers, chat, documents, health, keys, models, runs, search, usage, users
from api.routing import StrictRoute
from infra.services import Services
from infra.version import VERSION


def create_app(services: Services) -> FastAPI:
    settings = services.settings
    app = FastAPI(
        title="Moorage",
        version=VERSION,
        docs_url="/docs" if settings.shows_docs else None,
        redoc_url="/redoc" if settings.shows_docs else None,
        openapi_url="/openapi.json" if settings.shows_docs else None,
        swagger_ui_oauth2_redirect_url=None,
        redirect_slashes=False,
    )
    app.state.services = services
    app.state.admission = Admission(services, Load(services))
    for module in (accounts, keys, users, chat, answers, models, documents, search, runs, usage, health):
        lax = [route for route in module.router.routes if not isinstance(route, StrictRoute)]
        assert not lax, f"{module.__name__}: make its router with api.routing.Router"
        app.include_router(module.router)
    if settings.shows_metrics:
        app.include_router(health.metrics_router)
    errors.install(app)
    app.add_middleware(BodyLimit, unlimited=frozenset({documents.PATH}))
    app.add_middleware(AddressPace, services=services)
    if settings.cors_origins:
        app.add_middleware(Origins, origins=settings.cors_origins)
    app.add_middleware(Gate, hosts=settings.trusted_hosts)
    app.add_middleware(Edge)  # added last, so outermost
    return app
