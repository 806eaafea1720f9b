"""The script ``posthorn-smtp-in``."""

from __future__ import annotations

from posthorn.runtime.process import serve
from posthorn_smtp_in.composition import start
from posthorn_smtp_in.settings import SubmissionInSettings, load_settings


def main() -> None:
    """Run the service in the role that the settings name."""
    settings = load_settings()
    serve(
        "submission" if isinstance(settings, SubmissionInSettings) else "smtp-in", settings, start
    )
