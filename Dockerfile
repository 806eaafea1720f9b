# One image per service: docker build --build-arg SERVICE=smtp-in -t ghcr.io/posthorn/posthorn-smtp-in .
# SERVICE is smtp-in (both roles, mx and submission), delivery, scan, relay, pop3, imap or api. Each of these images also contains
# `posthorn-migrate`. With SERVICE=cli the image holds the command line: docker run ghcr.io/posthorn/posthorn-cli domain list
#
# - Libraries come from requirements/<service>.txt, checked against their hashes, as wheels only: nothing is compiled, so no stage
#   contains a compiler. The final stage contains no installer either.
# - All images share the stage that fetches, installs and byte-compiles the libraries of all services; each removes what
#   its service does not need. That takes half the time of five separate environments.
# - The libraries' own tests are left out: they are a tenth of the libraries' size. So are the half of zstandard that CPython does not
#   use, 12 MB, and the services of Google among the protocol buffers that OpenTelemetry depends on.
# - Bytecode is compiled here and never checked again: the root filesystem is meant to be read-only. Each stage compiles what it has
#   installed; compileall would compile all of it anew, since such bytecode does not say when it was made.
# - The first process of a container has no default action for signals. Loading its libraries takes a service seconds on a busy node;
#   SIGTERM during that time must not be ignored, or the pod would stay for the whole grace period.
# - A service writes only to /tmp, and smtp-in to /var/spool/posthorn (large incoming messages): mount both.
# For published images give the base image by digest: --build-arg PYTHON_IMAGE=python@sha256:...
ARG PYTHON_IMAGE=python:3.13-slim-trixie
ARG SERVICE

# ---- every library of every service, installed and compiled once
FROM ${PYTHON_IMAGE} AS libraries
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_COMPILE=1 PIP_ROOT_USER_ACTION=ignore PIP_QUIET=1
COPY requirements/build.txt /src/requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    ["python3", "-m", "pip", "install", "--only-binary=:all:", "--require-hashes", "--target=/backends", "-r", "/src/requirements/build.txt"]
ENV PYTHONPATH=/backends
COPY requirements/smtp-in.txt requirements/delivery.txt requirements/scan.txt requirements/relay.txt requirements/pop3.txt requirements/imap.txt requirements/api.txt requirements/cli.txt /src/requirements/
# nkeys has no wheel; it is pure Python
RUN --mount=type=cache,target=/root/.cache/pip \
    ["python3", "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--only-binary=:all:", "--no-binary=nkeys", "--require-hashes", "--wheel-dir=/wheels", "-r", "/src/requirements/smtp-in.txt", "-r", "/src/requirements/delivery.txt", "-r", "/src/requirements/scan.txt", "-r", "/src/requirements/relay.txt", "-r", "/src/requirements/pop3.txt", "-r", "/src/requirements/imap.txt", "-r", "/src/requirements/api.txt", "-r", "/src/requirements/cli.txt"]
RUN ["python3", "-m", "venv", "--without-pip", "/opt/posthorn"]
RUN python3 -m pip --python /opt/posthorn/bin/python install --no-deps --no-index /wheels/*.whl \
    && find /opt/posthorn/lib -type d \( -name tests -o -name testing -o -name SelfTest -o -path '*/google/api' -o -path '*/google/type' -o -path '*/google/cloud' -o -path '*/google/logging' -o -path '*/google/longrunning' -o -path '*/google/gapic' \) -prune -exec rm -r {} + \
    && find /opt/posthorn/lib -type f \( -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.pxi' -o -name '*.h' -o -name '*.cpp' -o -name '*.hpp' -o -name '*.proto' -o -path '*/zstandard/_cffi.*' \) -delete \
    && /opt/posthorn/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/posthorn/lib

# ---- our own library, which all images contain
FROM libraries AS ours
COPY VERSION /src/VERSION
COPY libs/posthorn /src/libs/posthorn
RUN ["python3", "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir=/ours", "/src/libs/posthorn"]
RUN python3 -m pip --python /opt/posthorn/bin/python install --no-deps --no-index /ours/*.whl \
    && /opt/posthorn/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/posthorn/lib/*/site-packages/posthorn

# ---- the console's files, which only the API's image gets
FROM libraries AS console
COPY requirements/console.txt /src/requirements/
RUN --mount=type=cache,target=/root/.cache/pip \
    ["python3", "-m", "pip", "install", "--only-binary=:all:", "--require-hashes", "--target=/node", "-r", "/src/requirements/console.txt"]
ENV PYTHONPATH=/backends:/node
COPY VERSION /src/VERSION
COPY tools /src/tools
COPY services/console /src/services/console
RUN --mount=type=cache,target=/root/.npm cd /src && python3 -m tools.console build \
    && python3 -m pip wheel --no-deps --no-build-isolation --wheel-dir=/console /src/services/console

# ---- one service and its requirements
FROM ours AS build-api
COPY --from=console /console /service
FROM ours AS build-smtp-in
FROM ours AS build-delivery
FROM ours AS build-scan
FROM ours AS build-relay
FROM ours AS build-pop3
FROM ours AS build-imap
# the command line needs nothing of our library
FROM libraries AS build-cli
COPY VERSION /src/VERSION
FROM build-${SERVICE} AS build
ARG SERVICE
COPY services/${SERVICE} /src/services/${SERVICE}
RUN python3 -m pip wheel --no-deps --no-build-isolation --wheel-dir=/service "/src/services/${SERVICE}"
RUN cd /src/requirements && cat smtp-in.txt delivery.txt scan.txt relay.txt pop3.txt imap.txt api.txt cli.txt | sed -n 's/^\([a-z0-9-]*\)==.*/\1/p' | sort -u >/tmp/all \
    && sed -n 's/^\([a-z0-9-]*\)==.*/\1/p' ${SERVICE}.txt | sort -u | comm -23 /tmp/all - >/tmp/unwanted \
    && python3 -m pip --python /opt/posthorn/bin/python uninstall --yes --requirement /tmp/unwanted \
    && python3 -m pip --python /opt/posthorn/bin/python install --no-deps --no-index /service/*.whl \
    && /opt/posthorn/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/posthorn/lib/*/site-packages/posthorn_* \
    && printf '%s\n' '#!/opt/posthorn/bin/python' 'import os, signal, sys' \
        'signal.signal(signal.SIGTERM, lambda number, _: os._exit(128 + number))  # until the service handles it itself' \
        "from posthorn_$(echo "${SERVICE}" | tr - _).main import main" 'sys.exit(main())' >/opt/posthorn/bin/serve \
    && chmod 0755 /opt/posthorn/bin/serve \
    && install -d -o 10001 -g 10001 -m 0700 /spool

# ---- the final image
FROM ${PYTHON_IMAGE}
RUN ["python3", "-m", "pip", "uninstall", "--quiet", "--yes", "--root-user-action=ignore", "pip"]
COPY --from=build --chown=10001:10001 /spool /var/spool/posthorn
COPY --from=build /opt/posthorn /opt/posthorn
COPY LICENSE /licenses/LICENSE
# HOME: some libraries look there for credentials
ENV PATH=/opt/posthorn/bin:$PATH HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /tmp
EXPOSE 9100
STOPSIGNAL SIGTERM
# Readiness, not liveness: `docker compose up --wait` and depends_on use it, and nothing restarts a container that is not ready.
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 \
    CMD ["/opt/posthorn/bin/python", "-ISc", "import socket; c = socket.create_connection(('127.0.0.1', 9100), 4); c.sendall(b'GET /readyz HTTP/1.0\\r\\n\\r\\n'); raise SystemExit(b' 200 ' not in c.recv(64))"]
ENTRYPOINT ["/opt/posthorn/bin/serve"]
ARG SERVICE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="posthorn-${SERVICE}" \
      org.opencontainers.image.description="Posthorn, a Kubernetes-native mail server: ${SERVICE}" \
      org.opencontainers.image.source="https://github.com/posthorn/posthorn" \
      org.opencontainers.image.vendor="Posthorn" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="docker.io/library/python:3.13-slim-trixie" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
