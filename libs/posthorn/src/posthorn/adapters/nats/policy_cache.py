"""Filter policies made of directory entries, once for each pair of a domain's and an address's
entry: a document may hold a thousand list entries, and RCPT must not read them each time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from posthorn.model.directory_entry import Entry
from posthorn.model.filter_policy import DEFAULT_POLICY, FilterPolicy, merged

_MOST = 1000

type _Document = Mapping[str, Any]


class PolicyCache:
    """The policies used last, at most ``most``."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        # by identity of the documents, which the value keeps alive
        self._found: OrderedDict[tuple[int, int], tuple[_Document, _Document, FilterPolicy]] = (
            OrderedDict()
        )

    def policy(self, domain: Entry | None, address: Entry | None) -> FilterPolicy:
        """Return the policy of an address by the entries of its domain and its own."""
        far = domain.policy if domain else {}
        near = address.policy if address else {}
        if not far and not near:
            return DEFAULT_POLICY
        key = (id(far) if far else 0, id(near) if near else 0)
        known = self._found.get(key)
        if known is None:
            known = self._found[key] = far, near, merged(far, near)
            if len(self._found) > self._most:
                self._found.popitem(last=False)
        else:
            self._found.move_to_end(key)
        return known[2]
