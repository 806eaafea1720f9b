"""Character sets of mail by their labels, as in the WHATWG Encoding Standard: by usual meaning, not
by name.

A label is often narrower than the text: gb2312 with characters of GBK, iso-8859-1 with those of
windows-1252. Decoding never fails on a known label; invalid bytes become U+FFFD.

Python is asked for known codecs alone: it keeps each name that it is asked for in vain for ever
(``encodings._cache``), and strangers choose the labels.
"""

from __future__ import annotations

import re
from encodings import normalize_encoding
from encodings.aliases import aliases

_BY_LABEL = {
    label: codec
    for codec, labels in {
        "utf-8": "utf8 utf-8mb4 unicode-1-1-utf-8 unicode11utf8 unicode20utf8 x-unicode20utf8 x-utf-8 utf",
        "cp1252": "ascii us-ascii ansi_x3.4-1968 iso-8859-1 iso8859-1 iso88591 iso_8859-1 iso_8859-1:1987 iso-ir-100 latin1"
        " latin-1 l1 cp819 ibm819 csisolatin1 x-cp1252 default unknown-8bit 8bit us",
        "iso8859-2": "latin2 l2 csisolatin2 iso-ir-101",
        "cp1254": "iso-8859-9 iso8859-9 iso88599 iso_8859-9 latin5 l5 csisolatin5 iso-ir-148",
        "cp874": "windows-874 dos-874 tis-620 tis620 iso-8859-11 iso8859-11 iso885911 x-windows-874",
        "iso8859-8": "iso-8859-8-i iso-8859-8-e logical visual csiso88598i csiso88598e",
        "iso8859-6": "iso-8859-6-i iso-8859-6-e csiso88596i csiso88596e",
        "gb18030": "gb2312 gb_2312 gb_2312-80 gbk x-gbk gb18030 chinese csgb2312 csiso58gb231280 iso-ir-58 euc-cn cn-gb"
        " cp936 ms936",
        "hz": "hz-gb-2312",
        "big5hkscs": "big5 big5-hkscs cn-big5 csbig5 x-x-big5 big-5 cp950",
        "cp932": "shift_jis shift-jis sjis x-sjis ms_kanji ms932 windows-31j csshiftjis cp932",
        "cp949": "ks_c_5601-1987 ks_c_5601-1989 ks_c_5601 ksc5601 ksc_5601 ks_c_5601_1987 euc-kr euckr korean cseuckr csksc56011987"
        " iso-ir-149 windows-949 uhc cp949",
        "koi8-r": "koi koi8 koi8_r cskoi8r",
        "koi8-u": "koi8-ru",
        "mac_roman": "macintosh mac x-mac-roman csmacintosh",
        "mac_cyrillic": "x-mac-cyrillic x-mac-ukrainian",
        "utf-7": "unicode-1-1-utf-7 x-unicode-2-0-utf-7 csunicode11utf7",
        "utf-16-le": "utf-16le ucs-2 unicode csunicode iso-10646-ucs-2 unicodefeff",
    }.items()
    for label in labels.split()
}
_NUMBERED = re.compile(r"(?:x-)?(?:cp|windows|win|ibm|ms)[-_ ]?(\d{3,5})\Z")
_JAPANESE = re.compile(r"(?:cs)?iso-?2022-?jp(?:-\d)?(?:-ms)?\Z")
_UNALIASED = (
    "cp720 cp737 cp856 cp874 cp875 cp1006 koi8_t koi8_u mac_arabic mac_croatian mac_farsi mac_romanian"
    " utf_8_sig"
)
_NO_CHARSETS = "base64_codec bz2_codec hex_codec mbcs quopri_codec rot_13 uu_codec zlib_codec"
_CODECS = frozenset({*aliases.values(), *_UNALIASED.split()}) - {*_NO_CHARSETS.split()}
"""Names of Python's modules for character sets."""
_STRAY = re.compile("[\udc80-\udcff]")
_ESCAPE = re.compile(rb"\x1b(\$[@B]|\$\([A-Z]|\([A-Z])")


class UnknownCharsetError(LookupError):
    """The label names no known character set."""


def decode(data: bytes, label: str) -> str:
    """Decode bytes in the character set of a label (RFC 2045 §5.1). Raises UnknownCharsetError."""
    name = label.partition("*")[0].strip(" \t\"'").lower()  # RFC 2231 §5: a language may follow
    if _JAPANESE.match(name):
        return _decode_iso_2022_jp(data)
    if name in ("euc-jp", "eucjp", "x-euc-jp", "cseucpkdfmtjapanese", "x-euc", "ujis"):
        return _first_whole(data, "euc_jp", "euc_jis_2004")
    codec = _BY_LABEL.get(name)
    if codec is None and (found := _NUMBERED.match(name)):
        codec = f"cp{found[1]}"
    module = normalize_encoding(codec or name).lower() if name.isascii() else ""
    module = aliases.get(module, module)
    if module not in _CODECS:
        raise UnknownCharsetError(label)
    try:
        return data.decode(module, "replace")
    except ValueError:
        raise UnknownCharsetError(label) from None


def decode_unlabelled(data: bytes, label: str = "") -> str:
    """Decode bytes without a named character set: as UTF-8 if valid, else by the label.

    Without a known label, what is not UTF-8 is windows-1252.
    """
    try:
        return data.decode()
    except UnicodeDecodeError:
        pass
    if label:
        try:
            return decode(data, label)
        except UnknownCharsetError:
            pass
    text = data.decode("utf-8", "surrogateescape")
    return _STRAY.sub(
        lambda stray: bytes([ord(stray[0]) - 0xDC00]).decode("cp1252", "replace"), text
    )


def _first_whole(data: bytes, *codecs_: str) -> str:
    for codec in codecs_:
        try:
            return data.decode(codec)
        except UnicodeDecodeError:
            continue
    return data.decode(codecs_[0], "replace")


def _decode_iso_2022_jp(data: bytes) -> str:
    """Decode with NEC's row 13 (circled numbers and the like), which Python's codec lacks."""
    try:
        return data.decode("iso2022_jp_ext")
    except UnicodeDecodeError:
        pass
    text: list[str] = []
    mode, at = b"(B", 0
    for escape in _ESCAPE.finditer(data):
        text.append(_japanese(data[at : escape.start()], mode))
        mode, at = escape[1], escape.end()
    text.append(_japanese(data[at:], mode))
    return "".join(text)


def _japanese(data: bytes, mode: bytes) -> str:
    if mode.startswith(b"$"):
        return bytes(octet | 0x80 for octet in data).decode("euc_jis_2004", "replace")
    if mode == b"(I":
        return bytes(octet | 0x80 for octet in data).decode("cp932", "replace")
    return data.decode("ascii", "replace")
