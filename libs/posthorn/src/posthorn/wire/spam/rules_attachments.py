"""Rules on attachments: types that run when opened, plain, disguised, and within archives."""

from __future__ import annotations

from collections.abc import Iterator

from posthorn.wire.spam.facts import File
from posthorn.wire.spam.rule import Case, Rule

_RUNS = frozenset(
    [
        "ade",
        "adp",
        "apk",
        "app",
        "appinstaller",
        "application",
        "appx",
        "appxbundle",
        "bat",
        "chm",
        "cmd",
        "com",
        "cpl",
        "diagcab",
        "dll",
        "dmg",
        "ex_",
        "exe",
        "gadget",
        "hta",
        "inf",
        "ins",
        "iqy",
        "iso",
        "img",
        "isp",
        "jar",
        "jnlp",
        "jse",
        "js",
        "lib",
        "library-ms",
        "lnk",
        "mde",
        "msc",
        "msi",
        "msix",
        "msixbundle",
        "msp",
        "mst",
        "nsh",
        "pif",
        "ps1",
        "psc1",
        "reg",
        "scf",
        "scr",
        "sct",
        "search-ms",
        "settingcontent-ms",
        "shb",
        "shs",
        "sys",
        "url",
        "vb",
        "vbe",
        "vbs",
        "vhd",
        "vhdx",
        "vxd",
        "wsc",
        "wsf",
        "wsh",
        "xll",
    ]
)
_MACROS = frozenset(
    [
        "docm",
        "dotm",
        "xlsm",
        "xltm",
        "xlam",
        "pptm",
        "potm",
        "ppsm",
        "ppam",
        "sldm",
        "onepkg",
        "one",
    ]
)
_ARCHIVES = frozenset(
    ["zip", "rar", "7z", "ace", "arj", "cab", "gz", "bz2", "xz", "tar", "tgz", "z", "lzh"]
)
_DECOYS = frozenset(
    [
        "pdf",
        "doc",
        "docx",
        "xls",
        "xlsx",
        "ppt",
        "pptx",
        "jpg",
        "jpeg",
        "png",
        "gif",
        "txt",
        "html",
        "csv",
        "zip",
    ]
)
_LONGEST_EXTENSION = 20


def _extensions(name: str) -> list[str]:
    """Return the last two extensions of a file name, the last one first."""
    parts = name.rstrip(" .").lower().replace("\u202e", "").split(".")
    return [each.strip() for each in parts[:0:-1][:2] if len(each.strip()) <= _LONGEST_EXTENSION]


def _names(case: Case) -> Iterator[tuple[str, str]]:
    """Return the names of files and of those in archives, the latter with their archive's."""
    for each in case.facts.files:
        if each.name:
            yield each.name, ""
        for name in each.archive.names if each.archive else ():
            yield name.rpartition("/")[2], each.name or "an archive"


def _runs(name: str) -> bool:
    return (_extensions(name) or [""])[0] in _RUNS


def _program(case: Case) -> str | None:
    return next((name for name, outer in _names(case) if not outer and _runs(name)), None)


def _program_in_archive(case: Case) -> str | None:
    found = (f"{name} in {outer}" for name, outer in _names(case) if outer and _runs(name))
    return next(found, None)


def _disguised(case: Case) -> str | None:
    """``invoice.pdf.exe``."""
    for name, _ in _names(case):
        extensions = _extensions(name)
        if len(extensions) == 2 and extensions[0] in _RUNS and extensions[1] in _DECOYS:
            return name
    return None


def _program_content(case: Case) -> str | None:
    """A program for Windows or Linux under a name that does not say so."""
    for each in case.facts.files:
        if each.head.startswith((b"MZ", b"\x7fELF")) and not _runs(each.name) and _is_program(each):
            return each.name or each.type
    return None


def _is_program(file: File) -> bool:
    return (
        file.head.startswith(b"\x7fELF") or b"This program" in file.head or b"PE\0\0" in file.head
    )


def _macros(case: Case) -> str | None:
    for name, _ in _names(case):
        if (_extensions(name) or [""])[0] in _MACROS:
            return name
    return None


def _encrypted(case: Case) -> str | None:
    found = (each.name for each in case.facts.files if each.archive and each.archive.is_encrypted)
    return next(found, None)


def _nested(case: Case) -> str | None:
    for name, outer in _names(case):
        if outer and (_extensions(name) or [""])[0] in _ARCHIVES:
            return f"{name} in {outer}"
    return None


def _page(case: Case) -> str | None:
    """A page of HTML as a file: a form that no filter of links sees."""
    found = (
        each
        for each, _ in _names(case)
        if _extensions(each)[:1] in (["htm"], ["html"], ["shtml"], ["svg"])
    )
    return next(found, None)


RULES = (
    Rule("FILE_RUNS", 4.0, "An attachment is of a type that runs when it is opened.", _program),
    Rule(
        "FILE_RUNS_IN_ARCHIVE",
        4.0,
        "An archive (zip, RAR, 7z, tar, gzip, xz, cabinet) holds a file of a type that runs when it is opened.",
        _program_in_archive,
    ),
    Rule(
        "FILE_DISGUISED",
        2.5,
        "A file that runs has a name with the extension of a document before its own.",
        _disguised,
    ),
    Rule(
        "FILE_CONTENT_RUNS",
        4.0,
        "An attachment is a program, though its name does not say so.",
        _program_content,
    ),
    Rule("FILE_MACROS", 2.0, "An attachment is a document of a type that holds macros.", _macros),
    Rule(
        "ARCHIVE_ENCRYPTED",
        1.5,
        "An archive (zip, RAR, 7z) is encrypted, so that no scanner sees what it holds.",
        _encrypted,
    ),
    Rule("ARCHIVE_NESTED", 0.7, "An archive holds another archive.", _nested),
    Rule("FILE_PAGE", 1.0, "An attachment is a page of HTML or SVG.", _page, is_shape=True),
)
