"""A page that publishes, as far as its messages go: a file of FLV over wss://, then the end of the stream.

    page.py HOST PORT PATH ORIGIN FILE

Prints the texts that the server sends, one in a line, and the code of its close. Certificates are not checked."""

import os
import socket
import ssl
import struct
import sys

host, port, path, origin, file = sys.argv[1:]
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
raw = socket.create_connection((host, int(port)), timeout=30)
page = context.wrap_socket(raw, server_hostname=origin.split("//")[1].split(":")[0])
page.sendall(
    f"GET {path} HTTP/1.1\r\nHost: {origin.split('//')[1]}\r\nOrigin: {origin}\r\nConnection: Upgrade\r\n"
    "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
)
reader = page.makefile("rb")
status = reader.readline().decode().strip()
while reader.readline().strip():
    pass
if " 101 " not in status:
    sys.exit(status)


def send(first, payload):
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    page.sendall(struct.pack(">BBQ", first, 0xFF, len(payload)) + mask + masked)


def receive():
    first, length = reader.read(2)
    if length == 126:
        (length,) = struct.unpack(">H", reader.read(2))
    return first, reader.read(length)


with open(file, "rb") as stream:
    flv = stream.read()
while True:
    first, payload = receive()
    if first == 0x81:
        text = payload.decode()
        print(text, flush=True)
        if '"open":true' in text:
            for at in range(0, len(flv), 10_000):
                send(0x82, flv[at : at + 10_000])
        elif text == '{"ack":%d}' % len(flv):
            send(0x88, struct.pack(">H", 1000))
    elif first == 0x88:
        print("closed", struct.unpack(">H", payload[:2])[0])
        break
    elif first == 0x89:
        send(0x8A, payload)
