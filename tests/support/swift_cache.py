"""Swift wants memcached; a one-process proxy does as well with a dict."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any


class DictCache:
    def __init__(self) -> None:
        self._kept: dict[str, tuple[Any, float]] = {}

    def get(self, key: str, raise_on_error: bool = False) -> Any:
        value, until = self._kept.get(key, (None, 0.0))
        return None if until and until < time.time() else value

    def set(self, key: str, value: Any, time: float = 0, **_: Any) -> None:
        if len(self._kept) > 20_000:
            self._kept.clear()
        self._kept[key] = (value, _until(time))

    def incr(self, key: str, delta: int = 1, time: float = 0) -> int:
        value = max(0, int(self.get(key) or 0) + delta)
        self.set(key, value, time=time)
        return value

    def decr(self, key: str, delta: int = 1, time: float = 0) -> int:
        return self.incr(key, -delta, time)

    def delete(self, key: str, server_key: str | None = None) -> None:
        self._kept.pop(key, None)

    def set_multi(
        self, mapping: dict[str, Any], server_key: str, time: float = 0, **_: Any
    ) -> None:
        for key, value in mapping.items():
            self.set(key, value, time=time)

    def get_multi(self, keys: Iterable[str], server_key: str) -> list[Any]:
        return [self.get(key) for key in keys]


def _until(seconds: float) -> float:
    return time.time() + seconds if seconds else 0.0


def filter_factory(global_conf: dict[str, str], **conf: str) -> Callable[[Any], Any]:
    cache = DictCache()

    def wrap(app: Any) -> Any:
        def call(environ: dict[str, Any], start_response: Any) -> Any:
            environ["swift.cache"] = cache
            return app(environ, start_response)

        return call

    return wrap
