"""The picture that shows us: CPU time per Gbit against latency, as SVG that is readable on light and dark pages."""
import math
import re
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 860, 480
LEFT, RIGHT, TOP, BOTTOM = 70, 30, 60, 60
LINE = 15  # least distance between labels
SQUARE = ("nginx", "http-node")  # the groups of others
HTTP = "http-"  # begins the groups of what is played over HTTP

TITLES = {
    "floor-send": "floor, one send per message", "floor-ride": "floor, with-video", "floor-merge-100": "floor, merge 100 ms",
    "floor-uring-send": "floor, io_uring, each message", "floor-uring-ride": "floor, io_uring, with-video",
    "nginx-60000": "nginx-rtmp, chunk 60000", "nginx-4096": "nginx-rtmp, chunk 4096",
}

STYLE = """\
text { font: 13px system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif; fill: #1f2328; }
.title { font-size: 16px; font-weight: 600; }
.muted { fill: #59636e; }
.page { fill: #ffffff; }
.grid { stroke: #d1d9e0; }
.lead { stroke: #818b98; stroke-width: 0.7; }
.floor { fill: none; stroke: #818b98; stroke-width: 2; }
.nginx { fill: #bc4c00; }
.ours { fill: #0969da; }
.http-ours { fill: none; stroke: #0969da; stroke-width: 2; }
.http-node { fill: #8250df; }
.label-ours, .label-http-ours { font-weight: 600; fill: #0969da; }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc; }
.muted { fill: #9198a1; }
.page { fill: #0d1117; }
.grid { stroke: #3d444d; }
.nginx { fill: #f0883e; }
.ours { fill: #4493f8; }
.http-ours { stroke: #4493f8; }
.http-node { fill: #ab7df8; }
.label-ours, .label-http-ours { fill: #4493f8; }
}"""


def points(results, n):
    """Name, group, CPU-s/Gbit and latency of every server that delivered to `n` players."""
    found = []
    for name in results.servers("fanout"):
        cpu = results.median("fanout", name, n, "cpu")
        latency = results.median("fanout", name, n, "p50")
        if cpu and latency:
            found.append((name, group_of(name), cpu, latency))
    return found


def of_report(markdown):
    """The chart of a report: what its table of the larger fan-out says, as it says it."""
    n, rows = rows_of(markdown, "Fan-out")
    found = [(name, group_of(name), cpu, latency) for name, cpu, latency in rows]
    # The other ways in that are drawn; WebSocket lies upon HTTP-FLV.
    of_http, rows = rows_of(markdown, "HTTP-FLV")
    if of_http == n:
        found += [(f"{name}, HTTP-FLV", HTTP + group_of(name), cpu, latency) for name, cpu, latency in rows]
    date = re.search(r"^Measured on ([\d-]+)", markdown, re.MULTILINE)
    alike = "receivers alike" if "Receivers alike (" in markdown else "receivers with default acknowledgements"
    return svg(found, n, f"2 Mbit/s, 30 fps with audio; {alike}; medians, {date[1] if date else 'undated'}")


def rows_of(markdown, title):
    """The most players of the tables under that title, and name, CPU time and latency of each server in it."""
    tables = re.findall(rf"^## {title} to (\d+) players, one core\n\n\|.*\n\|.*\n((?:\|.*\n)+)", markdown, re.MULTILINE)
    n, text = max(((int(count), rows) for count, rows in tables), default=(0, ""))
    rows = []
    for row in text.splitlines():
        name, cpu, *_, latency = [cell.strip() for cell in row.strip("|").split("|")][:6]
        cpu, latency = cpu.split(" ")[0].rstrip("*"), latency.split(" ")[0].rstrip("*")
        if cpu != "-" and latency != "-":
            rows.append((name, float(cpu), float(latency)))
    return n, rows


def group_of(name):
    return name.split("-")[0] if name.startswith(("floor", "nginx", "node")) else "ours"


def svg(found, n, note):
    """The chart of those points."""
    if not found:
        return None
    x = scale_x(max(cpu for _, _, cpu, _ in found))
    low, high = decades([latency for *_, latency in found])
    y = lambda latency: TOP + (HEIGHT - TOP - BOTTOM) * (1 - math.log(latency / low) / math.log(high / low))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'role="img" aria-label="CPU time per Gbit against latency">',
        f"<style>{STYLE}</style>", f'<rect class="page" width="{WIDTH}" height="{HEIGHT}" rx="6"/>',
        f'<text class="title" x="{LEFT}" y="26">One core, {n} players: CPU time against latency</text>',
        f'<text class="muted" x="{LEFT}" y="45">{escape(note)}</text>',
        *grid_x(x, max(cpu for _, _, cpu, _ in found)), *grid_y(y, low, high), *marks(found, x, y), "</svg>"]
    return "\n".join(parts) + "\n"


def scale_x(most):
    """From 0 to a little beyond the dearest, with room for its label."""
    return lambda cpu: LEFT + cpu / (most * 1.3) * (WIDTH - LEFT - RIGHT)


def decades(latencies):
    """Bounds of 1, 2 or 5 times a power of ten around the latencies."""
    steps = [m * 10**e for e in range(-2, 5) for m in (1, 2, 5)]
    low = max(s for s in steps if s <= min(latencies) * 0.9)
    high = min(s for s in steps if s >= max(latencies) * 1.15)
    return low, high


def grid_x(x, most):
    step = next(s for s in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 100) if most * 1.3 / s <= 8)
    bottom = HEIGHT - BOTTOM
    count = int(most * 1.3 / step)
    parts = []
    for value in (index * step for index in range(count + 1)):
        parts.append(f'<line class="grid" x1="{x(value):.1f}" y1="{TOP}" x2="{x(value):.1f}" y2="{bottom}"/>')
        parts.append(f'<text class="muted" x="{x(value):.1f}" y="{bottom + 18}" text-anchor="middle">{value:g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 14}" text-anchor="middle">CPU seconds per Gbit delivered '
                 '(less is better)</text>')
    return parts


def grid_y(y, low, high):
    parts = []
    for value in (m * 10**e for e in range(-2, 5) for m in (1, 2, 5)):
        if low <= value <= high:
            at = y(value)
            parts.append(f'<line class="grid" x1="{LEFT}" y1="{at:.1f}" x2="{WIDTH - RIGHT}" y2="{at:.1f}"/>')
            parts.append(f'<text class="muted" x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{value:g}</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(f'<text x="20" y="{middle}" text-anchor="middle" transform="rotate(-90 20 {middle})">'
                 'video latency p50, ms</text>')
    return parts


def marks(found, x, y):
    parts = []
    for name, group, (left, top), label in placed(found, x, y):
        if abs(label.y - top) > LINE / 2:
            ends = f'x1="{left:.1f}" y1="{top:.1f}" x2="{label.x:.1f}" y2="{label.y:.1f}"'
            parts.append(f'<line class="lead" {ends}/>')
        shape = f'<rect class="{group}" x="{left - 5:.1f}" y="{top - 5:.1f}" width="10" height="10"/>'
        if group not in SQUARE:
            shape = f'<circle class="{group}" cx="{left:.1f}" cy="{top:.1f}" r="6"/>'
        parts.append(shape)
        parts.append(f'<text class="label-{group}" x="{label.x:.1f}" y="{label.y + 4:.1f}" '
                     f'text-anchor="{label.anchor}">{escape(name)}</text>')
    return parts


class Label:
    """Where a label may stand: beside its point, `rows` lines lower."""

    def __init__(self, at, name, side, rows):
        width = 7.5 * len(name)
        self.anchor = "start" if side > 0 else "end"
        self.x, self.y = at[0] + side * 12, at[1] + rows * LINE
        left = self.x if side > 0 else self.x - width
        self.box = (left, self.y - LINE / 2, left + width, self.y + LINE / 2)

    def is_free(self, taken):
        left, top, right, bottom = self.box
        return left > LEFT and right < WIDTH and TOP < top and bottom < HEIGHT - BOTTOM and not any(
            left < r and l < right and top < b and t < bottom for l, t, r, b in taken)


def placed(found, x, y):
    """Every point with its label at the nearest place where it covers no other label or point."""
    taken = [(x(cpu) - 7, y(latency) - 7, x(cpu) + 7, y(latency) + 7) for *_, cpu, latency in found]
    for name, group, cpu, latency in sorted(found, key=lambda point: -len(point[0])):
        at, name = (x(cpu), y(latency)), TITLES.get(name, name)
        places = [Label(at, name, side, rows) for rows in (0, 1, -1, 2, -2, 3, -3) for side in (1, -1)]
        label = next((place for place in places if place.is_free(taken)), places[0])
        taken.append(label.box)
        yield name, group, at, label
