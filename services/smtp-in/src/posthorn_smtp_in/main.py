"""The script ``posthorn-smtp-in``."""

from __future__ import annotations

from posthorn.runtime.process import serve
from posthorn_smtp_in.settings import load_settings, service_name


def main() -> None:
    """Run the service in the role that the settings name, in one process or several."""
    settings = load_settings()
    if settings.smtp_processes > 1:
        # the parent does not pay for the libraries
        from posthorn_smtp_in.processes import start_processes

        serve(service_name(settings), settings, start_processes)
        return
    from posthorn_smtp_in.composition import start

    serve(service_name(settings), settings, start)
