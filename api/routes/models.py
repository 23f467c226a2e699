"""What can be asked for."""

from datetime import UTC, datetime

from api import views
from api.deps import Caller, Platform
from api.routing import Router
from api.schemas.body import Page
from api.schemas.models import Model

router = Router(prefix="/api/v1/models", tags=["models"])


@router.get("")
async def list_models(principal: Caller, platform: Platform) -> Page[Model]:
    """The default first."""
    now = datetime.now(UTC)
    items = [
        views.model(model, default=at == 0, talks=platform.answerer.talks, prices=platform.prices, now=now)
        for at, model in enumerate(platform.models.offered)
    ]
    return Page(items=items, next_cursor=None)
