"""A cluster for ``lookup``: what the API server would answer, as far as the chart asks."""

from __future__ import annotations

import base64
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import helm_python

from tests.chart.rendering import NAME, NAMESPACE, Object, Rendered, at, chart_for, merged, read


class Cluster:
    """An API server that knows Secrets, Deployments and StatefulSets, and nothing else."""

    def __init__(self) -> None:
        self.secrets: dict[str, Object] = {}
        self.controllers: dict[str, Object] = {}
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, document = cluster.answer(self.path.partition("?")[0])
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Keep quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        # every 20 ms it is looked whether to stop, not every half second
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)

    def answer(self, path: str) -> tuple[int, Object]:
        if path == "/api":
            return 200, {"kind": "APIVersions", "versions": ["v1"]}
        if path == "/apis":
            version = {"groupVersion": "apps/v1", "version": "v1"}
            group = {"name": "apps", "versions": [version], "preferredVersion": version}
            return 200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]}
        if path == "/api/v1":
            return 200, self._resources("v1", "Secret")
        if path == "/apis/apps/v1":
            return 200, self._resources("apps/v1", "Deployment", "StatefulSet")
        if path == "/version":
            return 200, {"major": "1", "minor": "36", "gitVersion": "v1.36.0"}
        found = re.fullmatch(rf"/api/v1/namespaces/{NAMESPACE}/secrets/([a-z0-9.-]+)", path)
        if found and found[1] in self.secrets:
            return 200, self.secrets[found[1]]
        found = re.fullmatch(
            rf"/apis/apps/v1/namespaces/{NAMESPACE}/(?:deployments|statefulsets)/([a-z0-9.-]+)",
            path,
        )
        if found and found[1] in self.controllers:
            return 200, self.controllers[found[1]]
        return 404, {
            "kind": "Status",
            "apiVersion": "v1",
            "status": "Failure",
            "reason": "NotFound",
            "code": 404,
        }

    @staticmethod
    def _resources(version: str, *kinds: str) -> Object:
        resources = [
            {
                "name": f"{kind.lower()}s",
                "singularName": kind.lower(),
                "kind": kind,
                "namespaced": True,
                "verbs": ["get", "list"],
            }
            for kind in kinds
        ]
        return {"kind": "APIResourceList", "groupVersion": version, "resources": resources}

    def scaled(
        self, name: str, replicas: int, *owners: tuple[str, str, bool], kind: str = "Deployment"
    ) -> None:
        """Have a Deployment, or another kind, with so many pods; owners are managers,
        operations, whether they own the number."""
        entries = [
            {
                "manager": manager,
                "operation": operation,
                "fieldsV1": {"f:spec": {"f:replicas": {}} if owned else {"f:template": {}}},
            }
            for manager, operation, owned in owners
        ]
        self.controllers[name] = {
            "apiVersion": "apps/v1",
            "kind": kind,
            "metadata": {"name": name, "namespace": NAMESPACE, "managedFields": entries},
            "spec": {"replicas": replicas},
        }

    def keep(self, rendered: Rendered) -> None:
        """Store the Secrets of a release as a cluster does: all data in base64."""
        for name, secret in rendered.by_kind("Secret").items():
            data = dict(secret.get("data", {}))
            data |= {
                key: base64.b64encode(value.encode()).decode()
                for key, value in secret.get("stringData", {}).items()
            }
            self.secrets[name] = {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": secret["metadata"],
                "data": data,
            }

    def render(self, values: dict[str, Any] | None = None, *, upgrade: bool = True) -> Rendered:
        """Render with ``lookup`` at work, and what Helm learns of a cluster of what it serves."""
        values = merged(at("capabilities.apiVersions", ["apiregistration.k8s.io/v1"]), values or {})
        host, port = self.server.server_address[:2]
        kubeconfig = json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "c", "cluster": {"server": f"http://{host!s}:{port}"}}],
                "users": [{"name": "u", "user": {}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )
        stage = {"is_upgrade": upgrade, "is_install": not upgrade, "revision": 2 if upgrade else 1}
        with helm_python.Config(kubeconfig_content=kubeconfig, namespace=NAMESPACE) as config:
            files = config.render(
                chart_for(values),
                values,
                name=NAME,
                namespace=NAMESPACE,
                **stage,  # type: ignore[arg-type]
            )
            return read(files)
