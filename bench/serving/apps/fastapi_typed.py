"""The typed function on FastAPI, twice: as `def`, which gets a thread, and as `async def`."""

from fastapi import FastAPI
from orders import Order, Quote, quote

app = FastAPI()


@app.post("/def")
def on_a_thread(order: Order) -> Quote:
    return quote(order)


@app.post("/async")
async def on_the_loop(order: Order) -> Quote:
    return quote(order)
