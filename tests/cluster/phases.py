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

from tests.cluster.kubectl import KubectlError, Object, await_that
from tests.cluster.release import NAME, SELECTOR, STORES
from tests.cluster.scene import SENDER, Scene

_SHOWN = """
import hashlib, smtplib, socket, ssl, sys
context = ssl._create_unverified_context()
def direct(host, port):
    with socket.create_connection((host, port), 10) as plain, context.wrap_socket(plain) as secure:
        return secure.getpeercert(True)
with smtplib.SMTP(sys.argv[1], 25, timeout=10) as client:
    client.starttls(context=context)
    shown = [client.sock.getpeercert(True), direct(sys.argv[2], 465), direct(sys.argv[3], 995)]
print(*(hashlib.sha256(one).hexdigest() for one in shown))
"""


def steady(scene: Scene) -> None:
    """Do nothing."""
    time.sleep(20)


def scale_out(scene: Scene) -> None:
    """smtp-in from 1 to 4 by values."""
    _scale(scene, 4)


def scale_in(scene: Scene) -> None:
    """And back."""
    _scale(scene, 1)


def _scale(scene: Scene, replicas: int) -> None:
    scene.release.upgrade(smtpIn=scene.release.values["smtpIn"] | {"replicas": replicas})


def scaled_by_kubectl(scene: Scene) -> None:
    """A number that kubectl has set: Helm 4 is refused before anything is sent, Helm 3 overwrites it; either way the next goes."""
    deployment = f"deployment/{NAME}-smtp-in"
    scene.kubectl.said("scale", deployment, "--replicas", "2")
    scene.release.await_ready()
    try:
        _scale(scene, 1)
    except Exception as refusal:
        if "was scaled to 2 by other means" not in str(refusal):
            raise
        scene.kubectl.said("scale", deployment, "--replicas", "1")
        _scale(scene, 1)


def autoscaling(scene: Scene) -> None:
    """Autoscaling turned on keeps the pods that there are; without metrics it stays at its least."""
    if not scene.kubectl.serves("autoscaling/v2"):
        return
    before = scene.release.values
    scene.release.upgrade(pop3={"replicas": 3})
    earlier = _falls(scene)
    scene.release.upgrade(pop3={"replicas": 3, "autoscaling": {"enabled": True, "minReplicas": 3}})
    found = [
        each for each in scene.kubectl.items("deployments", SELECTOR) if each["metadata"]["name"] == f"{NAME}-pop3"
    ]
    assert found[0]["spec"]["replicas"] == 3, found[0]["spec"]["replicas"]
    assert _falls(scene) == earlier
    scene.release.upgrade(pop3={"replicas": 3})
    scene.release.upgrade(pop3=before.get("pop3", {}))


def _falls(scene: Scene) -> list[str]:
    """What the cluster says of pop3's pods that became fewer."""
    said = [(each.get("message", ""), str(each.get("count"))) for each in scene.kubectl.items("events")]
    return sorted(f"{text} {count}" for text, count in said if f"Scaled down replica set {NAME}-pop3" in text)


def restart_parts(scene: Scene) -> None:
    """Roll every part."""
    scene.kubectl.said("rollout", "restart", "deployment", "--selector", SELECTOR)
    scene.release.await_ready()


def restart_stores(scene: Scene) -> None:
    """Roll every store, one after another."""
    for store in STORES:
        scene.kubectl.said("rollout", "restart", f"statefulset/{NAME}-{store}")
        scene.release.await_ready()


def upgrade(scene: Scene) -> None:
    """To another tag, and to values that replace every part."""
    image = scene.release.values["image"] | {"tag": scene.settings.next_tag}
    scene.release.upgrade(image=image, commonAnnotations={"cluster.example/upgraded": "yes"})


def rollback(scene: Scene) -> None:
    """Back to the revision before."""
    scene.release.rollback()


def drain(scene: Scene) -> None:
    """Every node: cordoned, its pods evicted. A lone one cannot be emptied: its pods are evicted one by one."""
    nodes = [
        node["metadata"]["name"]
        for node in scene.kubectl.items("nodes")
        if not node["spec"].get("unschedulable") and not _tainted(node)
    ]
    stay = _stores_that_stay(scene)
    for node in nodes:
        here = [pod for pod in scene.release.pods() if pod["spec"].get("nodeName") == node]
        moving = [pod for pod in here if _component(pod) not in stay]
        staying = [pod for pod in here if _component(pod) in stay]
        if len(nodes) == 1:
            _evict(scene, here)
            continue
        scene.kubectl.said("cordon", node)
        try:
            _evict(scene, moving)
        finally:
            scene.kubectl.said("uncordon", node)
        _evict(scene, staying)


def _tainted(node: Object) -> bool:
    return any(taint["effect"] in ("NoSchedule", "NoExecute") for taint in node["spec"].get("taints", []))


def _component(pod: Object) -> str:
    return str(pod["metadata"]["labels"]["app.kubernetes.io/component"])


def _evict(scene: Scene, pods: list[Object]) -> None:
    for pod in pods:
        scene.kubectl.evict(pod["metadata"]["name"])
        _await_successor(scene, pod)


def _stores_that_stay(scene: Scene) -> set[str]:
    """Stores whose volume is bound to a node."""
    bound = {
        volume["spec"]["claimRef"]["name"]
        for volume in scene.kubectl.items("persistentvolumes", every=True)
        if volume["spec"].get("claimRef", {}).get("namespace") == scene.kubectl.namespace
        and (volume["spec"].get("nodeAffinity") or "hostPath" in volume["spec"])
    }
    return {store for store in STORES if any(f"-{store}-" in claim for claim in bound)}


def force_parts(scene: Scene) -> None:
    """Every pod of every part deleted by force, one after another."""
    for pod in scene.release.pods():
        if _component(pod) not in STORES:
            _force(scene, pod)


def force_store(store: str) -> Callable[[Scene], None]:
    """A store's pods deleted by force, three times."""

    def force(scene: Scene) -> None:
        for _ in range(3):
            for pod in scene.release.pods(store):
                _force(scene, pod)
            time.sleep(3)

    return force


def _force(scene: Scene, pod: Object) -> None:
    scene.kubectl.said("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force", "--wait=false")
    _await_successor(scene, pod)


def _await_successor(scene: Scene, pod: Object) -> None:
    """Wait until a pod is gone and everything is ready again, by pods: a controller's status lags behind."""
    uid = pod["metadata"]["uid"]

    def succeeded() -> bool:
        pods = scene.release.pods()
        return all(each["metadata"]["uid"] != uid and _is_ready(each) for each in pods)

    await_that(f"{pod['metadata']['name']} has a successor", succeeded, 900)
    scene.release.await_ready()


def _is_ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def certificate(scene: Scene) -> None:
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
    pods = {pod["metadata"]["uid"] for pod in scene.release.pods()}
    secret: dict[str, Any] = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": f"{NAME}-tls"}}
    scene.kubectl.apply(secret | {"type": "kubernetes.io/tls", "data": encoded})
    wanted = made.fingerprint(hashes.SHA256()).hex()
    hosts = [f"{NAME}-{part}.{scene.kubectl.namespace}.svc.cluster.local" for part in ("smtp-in", "submission", "pop3")]

    def shown() -> bool:
        return scene.outside.run_in(SENDER, "python", "-c", _SHOWN, *hosts).split() == [wanted] * 3

    await_that("every part shows the new certificate", shown, 300, 3)
    assert {pod["metadata"]["uid"] for pod in scene.release.pods()} == pods, "pods were replaced"


def reinstall(scene: Scene) -> None:
    """Uninstalled, and installed again under the same name: everything is there."""
    before = {secret["metadata"]["name"]: secret["data"] for secret in scene.kubectl.items("secrets", SELECTOR)}
    scene.release.uninstall()
    scene.release.install()
    after = {secret["metadata"]["name"]: secret["data"] for secret in scene.kubectl.items("secrets", SELECTOR)}
    assert {name for name in before if before[name] != after.get(name)} == set(), "secrets have changed"


PHASES: dict[str, Callable[[Scene], None]] = {
    "steady": steady,
    "scale smtp-in 1 to 4": scale_out,
    "scale smtp-in 4 to 1": scale_in,
    "scaled by kubectl, then upgraded": scaled_by_kubectl,
    "autoscaling on and off": autoscaling,
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
