"""The typed function for Serinus, as `async def`."""

from orders import Order, Quote, quote


async def predict(order: Order) -> Quote:
    return quote(order)
