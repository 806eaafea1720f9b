"""What a run needs beside the release: namespaces, accounts, the sender's pod; at its end ledger
and mailboxes are balanced."""

from __future__ import annotations

import base64
import json
import re
import secrets
import time
from pathlib import Path
from typing import Any

from tests.chart.rendering import merged
from tests.cluster.images import STANDIN_TAG
from tests.cluster.kubectl import Kubectl, KubectlError, Object, await_that
from tests.cluster.ledger import Account, account
from tests.cluster.release import NAME, Release, chart_for
from tests.cluster.settings import Settings

HERE = Path(__file__).parent
SENDER = "sender"
_DELIVERY_SECONDS = 300

_MAKE_ACCOUNTS = """
import json, sys, time, urllib.error, urllib.request
api, key, password, domain, canary, *addresses = json.load(sys.stdin)
deadline = time.monotonic() + 120
def send(method, path, document):
    head = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    while True:
        try:
            request = urllib.request.Request(api + path, json.dumps(document).encode(), head, method=method)
            urllib.request.urlopen(request, timeout=30).close()
            return
        except urllib.error.HTTPError as refusal:
            if refusal.code == 409:
                return
            if refusal.code != 503 or time.monotonic() > deadline:
                sys.exit(f"{path}: {refusal.code} {refusal.read()}")
        time.sleep(1)
send("POST", "/v1/domains", {"name": domain})
for address in (canary, *addresses):
    send("POST", "/v1/accounts", {"address": address, "password": password})
networks = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"]
send("PUT", f"/v1/accounts/{canary}/filter-policy", {"allow": networks})
"""

_READ = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())"
_CANARY_MESSAGES = re.compile(
    r'^posthorn_canary_messages_total{outcome="(\w+)",path="(\w+)"} (\S+)$', re.MULTILINE
)


def restricted(name: str) -> Object:
    """A namespace that enforces Pod Security "restricted", where the API server knows of it."""
    labels = {
        f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")
    }
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


class ClusterEnv:
    """The release, the sender beside it, and the account of both."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.kubectl = Kubectl(settings.namespace)
        self.outside = Kubectl(f"{settings.namespace}-load")
        settings.results.mkdir(parents=True, exist_ok=True)
        self.version = ".".join(str(part) for part in self.kubectl.version())
        self.faults: dict[str, str] = {}
        self._password = secrets.token_urlsafe(18)
        # what an earlier run has left is not this one's
        self._domain = f"run-{secrets.token_hex(4)}.example"
        self._addresses = [f"box{number}@{self._domain}" for number in range(4)]
        self._probe = f"probe@{self._domain}"
        self._canary = f"canary@{self._domain}"
        self.release = Release(
            self.kubectl, chart_for(self.kubectl, settings.results), self._values()
        )

    def _values(self) -> dict[str, Any]:
        layers = [json.loads((HERE / "values.json").read_text())]
        layers.append({"image": {"registry": self.settings.registry, "tag": self.settings.tag}})
        layers.append({"canary": {"address": self._canary}})
        if self.settings.standins:
            layers.append(json.loads((HERE / "standins-values.json").read_text()))
            image = {"bundled": {"image": {"registry": self.settings.registry, "tag": STANDIN_TAG}}}
            layers.append(dict.fromkeys(("postgresql", "nats", "s3"), image))
        if self.settings.values:
            layers.append(json.loads(Path(self.settings.values).read_text()))
        return merged(*layers)

    # ---- beginning

    def prepare(self) -> None:
        """Make the namespaces, install, and have the sender ready. It sends nothing before the
        first phase."""
        await_that(
            "what an earlier run has left is gone",
            lambda: not (self.kubectl.is_going() or self.outside.is_going()),
            600,
        )
        self.kubectl.apply(restricted(self.kubectl.namespace), restricted(self.outside.namespace))
        if self.settings.standins:  # Swift's keys have a colon in them, Garage's have not
            keys = {
                "access-key": "posthorn:posthorn",
                "secret-key": secrets.token_hex(32),
                "rpc-secret": secrets.token_hex(32),
            }
            try:
                self.kubectl.said("get", "secret", "standins-s3")
            except KubectlError:
                self.kubectl.apply(self._object("v1", "Secret", "standins-s3", stringData=keys))
        self.kubectl.apply(
            self._object("v1", "Secret", "canary", stringData={"password": self._password})
        )
        self.outside.said("delete", "pod", SENDER, "--ignore-not-found")
        self.release.uninstall()
        self.release.install()
        self._start_sender()
        told = [
            self._url("api", 8080),
            self._key(),
            self._password,
            self._domain,
            self._canary,
            *self._addresses,
            self._probe,
        ]
        self.outside.run_in(
            SENDER, "python", "-c", _MAKE_ACCOUNTS, given=json.dumps(told), seconds=180
        )

    def _object(self, version: str, kind: str, name: str, **more: Any) -> Object:
        return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **more}

    def _key(self) -> str:
        held = json.loads(
            self.kubectl.said("get", "secret", f"{NAME}-admin-key", "--output", "json")
        )
        return base64.b64decode(held["data"]["admin-key"]).decode()

    def _host(self, part: str) -> str:
        return f"{NAME}-{part}.{self.kubectl.namespace}.svc.cluster.local"

    def _url(self, part: str, port: int) -> str:
        return f"http://{self._host(part)}:{port}"

    def _start_sender(self) -> None:
        scripts = {path.name: path.read_text() for path in (HERE / "pod").glob("*.py")}
        self.outside.apply(self._object("v1", "ConfigMap", SENDER, data=scripts))
        given = {
            "SMTP_HOST": self._host("smtp-in"),
            "SUBMISSION_HOST": self._host("submission"),
            "IMAP_HOST": self._host("imap"),
            "POP3_HOST": self._host("pop3"),
            "API_HOST": self._host("api"),
            "RATE": str(self.settings.rate),
            "ADDRESSES": ",".join(self._addresses),
            "PROBE": self._probe,
            "PASSWORD": self._password,
            "API_KEY": self._key(),
        }
        container = {
            "name": SENDER,
            "image": f"{self.settings.registry}/posthorn/posthorn-api:{self.settings.tag}",
            "command": ["python", "/load/sender.py"],
            "env": [{"name": name, "value": value} for name, value in given.items()],
            "resources": {
                "requests": {"cpu": "50m", "memory": "64Mi"},
                "limits": {"memory": "512Mi"},
            },
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
            "volumeMounts": [
                {"name": "load", "mountPath": "/load", "readOnly": True},
                {"name": "tmp", "mountPath": "/tmp"},
            ],
        }
        spec = {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "fsGroup": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [
                {"name": "load", "configMap": {"name": SENDER}},
                {"name": "tmp", "emptyDir": {}},
            ],
        }
        self.outside.apply(self._object("v1", "Pod", SENDER, spec=spec))
        self.outside.said(
            "wait", "--for=condition=Ready", f"pod/{SENDER}", "--timeout=300s", seconds=320
        )

    # ---- under way

    def begin(self, phase: str) -> None:
        """Tell the sender that a phase begins; from the first one on it sends."""
        self.outside.run_in(SENDER, "sh", "-c", 'echo "$0" >/tmp/phase', phase)

    def explain(self, phase: str, fault: BaseException) -> None:
        """Write down why a phase did not come to its end, and what the cluster says then."""
        self.faults[phase] = f"{type(fault).__name__}: {fault}"[:2000]
        told = [self.faults[phase]]
        for what in (
            ("get", "pods", "--output", "wide"),
            ("get", "events", "--sort-by=.lastTimestamp"),
        ):
            try:
                told.append(self.kubectl.said(*what))
            except KubectlError as error:
                told.append(str(error))
        name = "".join(character if character.isalnum() else "-" for character in phase)
        (self.settings.results / f"fault-{name}.txt").write_text("\n\n".join(told))

    def canary_messages(self) -> dict[tuple[str, str], float]:
        """Return what the canary's present process counts: messages by path and outcome."""
        (pod,) = self.release.pods("canary")
        page = self.outside.run_in(
            SENDER, "python", "-c", _READ, f"http://{pod['status']['podIP']}:9100/metrics"
        )
        return {
            (path, outcome): float(count) for outcome, path, count in _CANARY_MESSAGES.findall(page)
        }

    # ---- end

    def finish(self) -> Account:
        """Stop the sender, wait until everything that was accepted has arrived, and balance."""
        self.release.await_ready()
        self.outside.run_in(SENDER, "touch", "/tmp/stop")
        await_that(
            "the sender has ended", lambda: '"phase": "end"' in self._ledger()[-200:], 120, 3
        )
        ledger = self._ledger()
        (self.settings.results / "ledger.jsonl").write_text(ledger)
        deadline = time.monotonic() + _DELIVERY_SECONDS
        while True:
            told = json.loads(
                self.outside.run_in(SENDER, "python", "/load/reader.py", seconds=1200)
            )
            found = {int(number): count for number, count in told["found"].items()}
            result = account(ledger.splitlines(), found, told["altered"])
            result.faults = self.faults
            if not result.total.lost or time.monotonic() > deadline:
                return result
            time.sleep(10)

    def _ledger(self) -> str:
        return self.outside.run_in(SENDER, "cat", "/tmp/ledger.jsonl", seconds=300)

    def remove(self) -> None:
        """Take everything away again, mail included."""
        for kubectl in (self.outside, self.kubectl):
            kubectl.said(
                "delete", "namespace", kubectl.namespace, "--ignore-not-found", "--wait=false"
            )
