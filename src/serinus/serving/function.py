"""A typed function as a service: decoded by its types, called on a thread or the loop, alone or in batch."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from serinus.contract import Contract, Example
from serinus.contract.violations import BrokenContract, Malformed
from serinus.errors import ServiceError
from serinus.serving.admission import Here, Pool
from serinus.serving.answers import Prediction, Problem
from serinus.serving.batching import Batcher, batching_of
from serinus.serving.logs import log

if TYPE_CHECKING:
    from serinus.contract.infer import Signature


class FunctionService:
    """A typed function that is ready to be called.

    Args:
        signature: the function, understood.
        call: takes the decoded arguments, gives an awaitable of the result.
    """

    def __init__(self, signature: Signature, call: Callable[..., Awaitable[Any]]) -> None:
        self.contract: Contract = signature.contract
        self._decode = signature.decoder.decode
        self._encode = signature.encoder.encode
        self._call = call

    async def predict(self, body: bytes) -> Prediction:
        """One response, by alias and as JSON; :class:`serinus.serving.service.Predictor` has the errors."""
        try:
            args, kwargs = self._decode(body)
        except Malformed as error:
            raise Problem(400, error.message) from None
        except BrokenContract as error:
            raise Problem(422, "the request breaks the contract", error.violations) from None
        return Prediction(self._encode(await self._call(*args, **kwargs)))


def caller(
    function: Callable[..., Any],
    signature: Signature,
    pool: Pool | Here,
    observe: Callable[[int], None],
    **bound: Any,
) -> Callable[..., Awaitable[Any]]:
    """How the function is called: in batches, on the loop when it is async, else on a thread of the pool.

    Args:
        function: the typed function.
        signature: what it is.
        pool: the threads for a sync function.
        observe: told the size of each batch.
        bound: keyword arguments that every call gets (``model``).
    """
    target = partial(function, **bound) if bound else function
    batching = batching_of(function)
    if batching is None:
        return target if signature.asynchronous else partial(pool.run, target)
    workers = 1 if signature.asynchronous else pool.size
    return Batcher(
        target, batching, workers=workers, run=pool.run, observe=lambda size, queued: observe(size)
    )


async def warm(
    call: Callable[..., Awaitable[Any]], signature: Signature, examples: Iterable[Example]
) -> None:
    """Let batches be measured (:meth:`Batcher.warm`) on examples, before the first request.

    Nothing comes of it where there are no batches or no examples, or where one fails: what is wrong with
    them is found when they are answered.
    """
    if not isinstance(call, Batcher):
        return
    try:
        items = [signature.decoder.decode(orjson.dumps(example.request))[0][0] for example in examples]
        if not items:
            return
        await call.warm(items)
    except Exception as error:  # noqa: BLE001  (the user's code may raise anything)
        log.warning("batches were not measured: an example raised %s", type(error).__name__)
        return
    log.info("batches", extra={"limit": call.limit, "at_once": call.workers})


async def set_up(function: Callable[..., Any], signature: Signature, pool: Pool) -> dict[str, Any]:
    """Call the ``setup()`` beside the function, if there is one: keyword arguments for every call.

    Raises:
        ServiceError: the function wants a model, and nothing makes one; or ``setup()`` raised.
    """
    module = inspect.getmodule(inspect.unwrap(function))
    setup = getattr(module, "setup", None)
    if not callable(setup):
        if signature.takes_model:
            name = getattr(module, "__name__", "its module")
            raise ServiceError(
                f"{function.__qualname__} takes `model`, and {name} has no setup()",
                "Define `def setup()` in the module; what it returns becomes `model`.",
            )
        return {}
    try:
        made = await (setup() if inspect.iscoroutinefunction(setup) else pool.run(setup))
    except Exception as error:  # noqa: BLE001  (the user's code may raise anything)
        log.exception("setup() raised %s", type(error).__name__)
        raise ServiceError(
            f"setup() of {getattr(module, '__name__', 'the service')} raised {type(error).__name__}: {error}",
            "Mend setup(); the traceback is in the log.",
        ) from None
    return {"model": made} if signature.takes_model else {}
