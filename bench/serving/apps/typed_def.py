"""The typed function for Serinus, as `def`."""

from orders import Order, Quote, quote


def predict(order: Order) -> Quote:
    return quote(order)
