"""The ways on which players come in besides RTMP: what the server is told of them, and what the load generator."""
import subprocess
from dataclasses import dataclass

OF_TLS = ("https", "rtmps", "wss")


@dataclass(frozen=True)
class Door:
    """One way in. `section` is its table in our configuration; `role` is the load generator's."""

    title: str
    section: str
    role: str
    url: str

    @property
    def is_tls(self):
        return self.section in OF_TLS


DOORS = {
    "flv": Door("HTTP-FLV", "http", "play-flv", "http://127.0.0.1:{}/live/s.flv"),
    "ws": Door("WebSocket-FLV", "http", "play-flv", "ws://127.0.0.1:{}/live/s.flv"),
    "rtmps": Door("RTMPS", "rtmps", "play", "rtmps://127.0.0.1:{}/live/s"),
    "https": Door("HTTP-FLV with TLS", "https", "play-flv", "https://127.0.0.1:{}/live/s.flv"),
    "wss": Door("WebSocket-FLV with TLS", "https", "play-flv", "wss://127.0.0.1:{}/live/s.flv"),
}


def listener(door, port, folder):
    """The lines of our configuration for it, with a certificate made in the folder where it needs one."""
    lines = [f"[{door.section}]", f'listen = ["127.0.0.1:{port}"]']
    if door.is_tls:
        cert, key = certificate(folder)
        lines += [f'cert = "{cert}"', f'key = "{key}"']
    return "\n".join(lines)


def certificate(folder):
    """Paths of a certificate and its key, as most servers have them today: ECDSA on P-256."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-keyout", key, "-out", cert], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if made.returncode:
        raise RuntimeError(f"openssl makes no certificate: {made.stdout[-300:]}")
    return cert, key
