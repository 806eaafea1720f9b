"""What is done to the release under load, one after another."""

from __future__ import annotations

import base64
import datetime
import time
from collections.abc import Callable
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.cluster.cluster_env import SENDER, ClusterEnv
from tests.cluster.kubectl import KubectlError, Object, await_that
from tests.cluster.release import NAME, SELECTOR, STORES

_SHOWN = """
import hashlib, smtplib, socket, ssl, sys
context = ssl._create_unverified_context()
def direct(host, port):
    with socket.create_connection((host, port), 10) as plain, context.wrap_socket(plain) as secure:
        return secure.getpeercert(True)
with smtplib.SMTP(sys.argv[1], 25, timeout=10) as client:
    client.starttls(context=context)
    shown = [client.sock.getpeercert(True)]
shown += map(direct, sys.argv[2:], (465, 993, 995))
print(*(hashlib.sha256(one).hexdigest() for one in shown))
"""


def steady(env: ClusterEnv) -> None:
    """Do nothing."""
    time.sleep(20)


def scale_out(env: ClusterEnv) -> None:
    """smtp-in from 1 to 4 by values."""
    _scale(env, 4)


def scale_in(env: ClusterEnv) -> None:
    """And back."""
    _scale(env, 1)


def _scale(env: ClusterEnv, replicas: int) -> None:
    env.release.upgrade(smtpIn=env.release.values["smtpIn"] | {"replicas": replicas})


def scaled_by_kubectl(env: ClusterEnv) -> None:
    """A number that kubectl has set: Helm 4 is refused before anything is sent, Helm 3
    overwrites it; either way the next goes."""
    deployment = f"deployment/{NAME}-smtp-in"
    env.kubectl.said("scale", deployment, "--replicas", "2")
    env.release.await_ready()
    try:
        _scale(env, 1)
    except Exception as refusal:
        if "was scaled to 2 by other means" not in str(refusal):
            raise
        env.kubectl.said("scale", deployment, "--replicas", "1")
        _scale(env, 1)


def autoscaling(env: ClusterEnv) -> None:
    """Autoscaling turned on keeps the pods that there are; without metrics it stays at its
    least."""
    if not env.kubectl.serves("autoscaling/v2"):
        return
    before = env.release.values
    env.release.upgrade(pop3={"replicas": 3})
    earlier = _falls(env)
    env.release.upgrade(pop3={"replicas": 3, "autoscaling": {"enabled": True, "minReplicas": 3}})
    found = [
        each
        for each in env.kubectl.items("deployments", SELECTOR)
        if each["metadata"]["name"] == f"{NAME}-pop3"
    ]
    assert found[0]["spec"]["replicas"] == 3, found[0]["spec"]["replicas"]
    assert _falls(env) == earlier
    env.release.upgrade(pop3={"replicas": 3})
    env.release.upgrade(pop3=before.get("pop3", {}))


def _falls(env: ClusterEnv) -> list[str]:
    """What the cluster says of pop3's pods that became fewer."""
    said = [
        (each.get("message", ""), str(each.get("count"))) for each in env.kubectl.items("events")
    ]
    return sorted(
        f"{text} {count}" for text, count in said if f"Scaled down replica set {NAME}-pop3" in text
    )


def partitions(env: ClusterEnv) -> None:
    """INGEST in one partition, and in as many as before."""
    before = env.release.values["nats"]
    env.release.upgrade(nats=before | {"ingestPartitions": 1})
    env.release.upgrade(nats=before)


def restart_parts(env: ClusterEnv) -> None:
    """Roll every part."""
    env.kubectl.said("rollout", "restart", "deployment", "--selector", SELECTOR)
    env.release.await_ready()


def restart_stores(env: ClusterEnv) -> None:
    """Roll every store, one after another."""
    for store in STORES:
        env.kubectl.said("rollout", "restart", f"statefulset/{NAME}-{store}")
        env.release.await_ready()


def upgrade(env: ClusterEnv) -> None:
    """To another tag, and to values that replace every part."""
    image = env.release.values["image"] | {"tag": env.settings.next_tag}
    env.release.upgrade(image=image, commonAnnotations={"cluster.example/upgraded": "yes"})


def rollback(env: ClusterEnv) -> None:
    """Back to the revision before."""
    env.release.rollback()


def drain(env: ClusterEnv) -> None:
    """Every node: cordoned, its pods evicted. A lone one cannot be emptied: its pods are evicted
    one by one."""
    nodes = [
        node["metadata"]["name"]
        for node in env.kubectl.items("nodes")
        if not node["spec"].get("unschedulable") and not _tainted(node)
    ]
    stay = _stores_that_stay(env)
    for node in nodes:
        here = [pod for pod in env.release.pods() if pod["spec"].get("nodeName") == node]
        moving = [pod for pod in here if _component(pod) not in stay]
        staying = [pod for pod in here if _component(pod) in stay]
        if len(nodes) == 1:
            _evict(env, here)
            continue
        env.kubectl.said("cordon", node)
        try:
            _evict(env, moving)
        finally:
            env.kubectl.said("uncordon", node)
        _evict(env, staying)


def _tainted(node: Object) -> bool:
    return any(
        taint["effect"] in ("NoSchedule", "NoExecute") for taint in node["spec"].get("taints", [])
    )


def _component(pod: Object) -> str:
    return str(pod["metadata"]["labels"]["app.kubernetes.io/component"])


def _evict(env: ClusterEnv, pods: list[Object]) -> None:
    for pod in pods:
        env.kubectl.evict(pod["metadata"]["name"])
        _await_successor(env, pod)


def _stores_that_stay(env: ClusterEnv) -> set[str]:
    """Stores whose volume is bound to a node."""
    bound = {
        volume["spec"]["claimRef"]["name"]
        for volume in env.kubectl.items("persistentvolumes", every=True)
        if volume["spec"].get("claimRef", {}).get("namespace") == env.kubectl.namespace
        and (volume["spec"].get("nodeAffinity") or "hostPath" in volume["spec"])
    }
    return {store for store in STORES if any(f"-{store}-" in claim for claim in bound)}


def force_parts(env: ClusterEnv) -> None:
    """Every pod of every part deleted by force, one after another."""
    for pod in env.release.pods():
        if _component(pod) not in STORES:
            _force(env, pod)


def force_store(store: str) -> Callable[[ClusterEnv], None]:
    """A store's pods deleted by force, three times."""

    def force(env: ClusterEnv) -> None:
        for _ in range(3):
            for pod in env.release.pods(store):
                _force(env, pod)
            time.sleep(3)

    return force


def _force(env: ClusterEnv, pod: Object) -> None:
    env.kubectl.said(
        "delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force", "--wait=false"
    )
    _await_successor(env, pod)


def _await_successor(env: ClusterEnv, pod: Object) -> None:
    """Wait until a pod is gone and everything is ready again, by pods: a controller's status
    lags behind."""
    uid = pod["metadata"]["uid"]

    def succeeded() -> bool:
        pods = env.release.pods()
        return all(each["metadata"]["uid"] != uid and _is_ready(each) for each in pods)

    await_that(f"{pod['metadata']['name']} has a successor", succeeded, 900)
    env.release.await_ready()


def _is_ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def certificate(env: ClusterEnv) -> None:
    """The certificate replaced; every part shows the new one without a restart."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail.cluster.example")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8
    private = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    data = {"tls.crt": made.public_bytes(serialization.Encoding.PEM), "tls.key": private}
    encoded = {file: base64.b64encode(octets).decode() for file, octets in data.items()}
    pods = {pod["metadata"]["uid"] for pod in env.release.pods()}
    secret: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"{NAME}-tls"},
    }
    env.kubectl.apply(secret | {"type": "kubernetes.io/tls", "data": encoded})
    wanted = made.fingerprint(hashes.SHA256()).hex()
    hosts = [
        f"{NAME}-{part}.{env.kubectl.namespace}.svc.cluster.local"
        for part in ("smtp-in", "submission", "imap", "pop3")
    ]

    def shown() -> bool:
        return env.outside.run_in(SENDER, "python", "-c", _SHOWN, *hosts).split() == [wanted] * len(
            hosts
        )

    await_that("every part shows the new certificate", shown, 300, 3)
    assert {pod["metadata"]["uid"] for pod in env.release.pods()} == pods, "pods were replaced"


def reinstall(env: ClusterEnv) -> None:
    """Uninstalled, and installed again under the same name: everything is there."""
    before = {
        secret["metadata"]["name"]: secret["data"]
        for secret in env.kubectl.items("secrets", SELECTOR)
    }
    env.release.uninstall()
    env.release.install()
    after = {
        secret["metadata"]["name"]: secret["data"]
        for secret in env.kubectl.items("secrets", SELECTOR)
    }
    assert {name for name in before if before[name] != after.get(name)} == set(), (
        "secrets have changed"
    )


PHASES: dict[str, Callable[[ClusterEnv], None]] = {
    "steady": steady,
    "scale smtp-in 1 to 4": scale_out,
    "scale smtp-in 4 to 1": scale_in,
    "scaled by kubectl, then upgraded": scaled_by_kubectl,
    "autoscaling on and off": autoscaling,
    "INGEST in other partitions": partitions,
    "rollout restart of all parts": restart_parts,
    "rollout restart of all stores": restart_stores,
    "helm upgrade": upgrade,
    "helm rollback": rollback,
    "drain": drain,
    "force-delete every part": force_parts,
    **{f"force-delete {store}, 3 times": force_store(store) for store in STORES},
    "certificate replaced": certificate,
    "uninstall, install again": reinstall,
    "steady again": steady,
}

__all__ = ["PHASES", "KubectlError"]
