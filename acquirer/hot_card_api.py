"""The acquirer's REST interface to its stopped cards."""

from __future__ import annotations

from typing import Annotated, Literal

import fastapi
import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field

from acquirer.hot_card_tables import LISTED, HotCard
from acquirer.hot_cards import REASON_LENGTH, hot_card_view
from acquirer.views import Limit
from network.party import Json
from network.rest import Service


class NewHotCard(BaseModel):
    """A card that terminals shall decline."""

    model_config = ConfigDict(extra="forbid")

    pan: str = Field(pattern=r"^[0-9]{13,19}$", repr=False)
    reason: str = Field(min_length=1, max_length=REASON_LENGTH)


def hot_card_routes(service: Service) -> fastapi.APIRouter:
    """The routes; whoever includes them sees to it that the operator's token is shown."""
    router = fastapi.APIRouter()
    cards = service.store.tables[HotCard]

    @router.get("/hot-cards")
    def list_hot_cards(limit: Limit = 100, status: Literal["listed", "removed"] = LISTED) -> list[Json]:
        """Stopped cards, masked, those first that were added last."""
        is_asked = cards.c.status == sa.literal_column(f"'{status}'")
        query = sa.select(cards).where(is_asked).order_by(cards.c.added_at.desc(), cards.c.identifier).limit(limit)
        with service.store.read() as connection:
            return [hot_card_view(HotCard(**row._mapping)) for row in connection.execute(query)]

    @router.post("/hot-cards", status_code=201)
    async def add_hot_card(new: NewHotCard) -> Json:
        """Stop a card at every terminal that downloads the list; of one that is stopped the reason is changed."""
        return await service.command("add_hot_card", {"pan": new.pan, "reason": new.reason})

    @router.delete("/hot-cards/{identifier}")
    async def remove_hot_card(identifier: Annotated[str, fastapi.Path(pattern=r"^[0-9a-f]{32}$")]) -> Json:
        """Take a card off the list."""
        return await service.command("remove_hot_card", {"id": identifier})

    return router
