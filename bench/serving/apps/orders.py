"""The types of the second measurement, and what is made of them: the same file for every service."""

from typing import Annotated

from pydantic import BaseModel, Field

FREE = 50.0


class Item(BaseModel):
    name: Annotated[str, Field(min_length=1, max_length=80)]
    pieces: Annotated[int, Field(ge=1, le=1000)]
    price: Annotated[float, Field(gt=0, le=1e6)]


class Order(BaseModel):
    customer: Annotated[str, Field(min_length=1, max_length=80)]
    items: Annotated[list[Item], Field(min_length=1, max_length=50)]
    express: bool = False


class Quote(BaseModel):
    total: float
    pieces: int
    free_delivery: bool


def quote(order: Order) -> Quote:
    total = sum(item.pieces * item.price for item in order.items)
    return Quote(
        total=round(total, 2),
        pieces=sum(item.pieces for item in order.items),
        free_delivery=total >= FREE and not order.express,
    )
