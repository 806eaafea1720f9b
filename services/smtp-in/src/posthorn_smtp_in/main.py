"""The script ``posthorn-smtp-in``."""

from __future__ import annotations

from posthorn.runtime.process import serve
from posthorn_smtp_in.composition import start
from posthorn_smtp_in.settings import SmtpInSettings, SubmissionInSettings


def main() -> None:
    """Run the service in the role that the settings name."""
    settings = SmtpInSettings.load()
    if settings.smtp_role == "submission":
        serve("submission", SubmissionInSettings.load(), start)
    else:
        serve("smtp-in", settings, start)
