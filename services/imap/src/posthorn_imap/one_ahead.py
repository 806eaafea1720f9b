"""Reading the next page from the store while the present one is sent.

Rules:

- One page is read at a time, and one waits: memory is that of two pages.
- A fault is raised where its page comes in the order.
- A read under way is never cancelled, since the driver would have to stop its statement: a caller
  that leaves early waits for its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable


async def one_ahead[P, R](
    pages: Iterable[P], read: Callable[[P], Awaitable[R]]
) -> AsyncGenerator[R]:
    """Yield what is read of each page, in order. Close the generator when leaving early."""
    coming: asyncio.Future[R] | None = None
    try:
        for page in pages:
            following = None if coming is None else await coming
            coming = asyncio.ensure_future(read(page))
            if following is not None:
                yield following
        if coming is not None:
            last, coming = await coming, None
            yield last
    finally:
        if coming is not None:
            await asyncio.wait({coming})
            if not coming.cancelled():
                coming.exception()  # nobody else looks at it
