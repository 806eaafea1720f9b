"""Models of the Bayes filter as rows hold them: encoded (``wire.spam.bayes``) and compressed."""

from __future__ import annotations

import zstandard

from posthorn.wire.spam.bayes import (
    EMPTY,
    MOST_TOKENS,
    BayesError,
    BayesModel,
    decode_model,
    encode_model,
)

MOST_BYTES = 1024 + 12 * MOST_TOKENS
"""Bytes of an encoded model."""
_LEVEL = 3


def pack_model(model: BayesModel) -> bytes:
    """Return a model as a row holds it. Any thread may call it."""
    return zstandard.ZstdCompressor(level=_LEVEL).compress(encode_model(model))


def unpack_model(packed: bytes) -> BayesModel:
    """Return the model that a row holds; an empty one where it cannot be read, as when it is of
    another version of tokens. Any thread may call it."""
    if not packed:
        return EMPTY
    try:
        if zstandard.frame_content_size(packed) > MOST_BYTES:
            return EMPTY
        return decode_model(
            zstandard.ZstdDecompressor().decompress(packed, max_output_size=MOST_BYTES)
        )
    except (zstandard.ZstdError, BayesError):
        return EMPTY
