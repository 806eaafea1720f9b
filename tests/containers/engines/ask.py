"""Asks each engine from the container of scan, as scan does; run by Python in that container."""

import json
import socket
import struct
import urllib.request

EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
GTUBE = b"XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
LOCALHOST = b"\x12\x34\x01\x00\x00\x01\0\0\0\0\0\0\x09localhost\0\0\x01\0\x01"

found = {}
with socket.create_connection(("clamav", 3310), 10) as clamd:
    clamd.sendall(b"zINSTREAM\0" + struct.pack(">I", len(EICAR)) + EICAR + struct.pack(">I", 0))
    found["clamav"] = clamd.recv(100).decode()
request = urllib.request.Request(
    "http://rspamd:11333/checkv2",
    data=b"From: a@b.test\r\nSubject: x\r\n\r\n" + GTUBE + b"\r\n",
    headers={"IP": "192.0.2.1"},
)
with urllib.request.urlopen(request, timeout=30) as answer:
    found["rspamd"] = json.load(answer)["action"]
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as resolver:
    resolver.settimeout(10)
    resolver.sendto(LOCALHOST, ("127.0.0.1", 5335))
    found["resolver"] = resolver.recv(500)[:2].hex()
print(json.dumps(found))
