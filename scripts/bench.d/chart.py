"""The report's picture: an SVG without fonts, scripts or network of its own."""

from dataclasses import dataclass
from xml.sax.saxutils import escape

from growth import COUNTS
from medians import Numbers, Stat, number
from targets import ENGINES

WIDTH = 820
# Where bars begin, and how long the longest may be; behind it stands its value.
LEFT, SPAN = 230, 400
ROW, BAR = 30, 18
# Ours warm, ours cold, others, reference lines and text.
WARM, COLD, OTHER, LINE, INK, FAINT = "#2a9d8f", "#4c78a8", "#c9ced6", "#e07a5f", "#24292f", "#6e7781"
# Text that stands on lines has a white edge.
HALO = 'stroke="#ffffff" stroke-width="4" paint-order="stroke"'


@dataclass
class Bar:
    """One bar."""

    label: str
    stat: Stat
    colour: str


def draw(numbers: Numbers) -> str:
    """The whole picture; nothing when there is nothing to be shown."""
    top, parts = 20, []
    for panel in (_guests, _cluster, _growth):
        body, height = panel(numbers, top)
        parts += body
        top += height
    if not parts:
        return ""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top}" viewBox="0 0 {WIDTH} {top}" '
        f'font-family="system-ui, Helvetica, Arial, sans-serif" font-size="13" fill="{INK}">\n'
        f'<rect width="{WIDTH}" height="{top}" rx="8" fill="#ffffff"/>\n'
        f'<defs><pattern id="open" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        f'<rect width="6" height="6" fill="{OTHER}"/><rect width="2" height="6" fill="#ffffff"/></pattern></defs>\n'
    )
    return head + "\n".join(parts) + "\n</svg>\n"


def _text(x: float, y: float, words: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{escape(words)}</text>'


def _title(top: float, words: str, small: str) -> list[str]:
    return [
        _text(24, top + 18, words, 'font-size="16" font-weight="600"'),
        _text(24, top + 36, small, f'fill="{FAINT}" font-size="12"'),
    ]


def _bars(
    top: float, title: str, small: str, bars: list[Bar], line: tuple[float, str] | None = None
) -> tuple[list[str], int]:
    """A panel of horizontal bars on one scale, with a reference line across."""
    bars = [bar for bar in bars if bar.stat.median is not None]
    if not bars:
        return [], 0
    longest = max([bar.stat.median for bar in bars] + ([line[0]] if line else []))
    parts, y = _title(top, title, small), top + 52
    if line:
        # First, so that the values are readable where it runs through them.
        x, end = LEFT + SPAN * line[0] / longest, y + ROW * len(bars) + 4
        stroke = f'stroke="{LINE}" stroke-width="1.5" stroke-dasharray="4 3"'
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top + 50}" y2="{end}" {stroke}/>')
        parts.append(_text(x, end + 14, line[1], f'fill="{LINE}" font-size="12" text-anchor="middle"'))
    for bar in bars:
        length = max(2.0, SPAN * bar.stat.median / longest)
        middle = y + ROW / 2
        fill = "url(#open)" if bar.stat.over else bar.colour
        parts.append(_text(LEFT - 12, middle + 4, bar.label, 'text-anchor="end"'))
        size = f'width="{length:.1f}" height="{BAR}"'
        parts.append(f'<rect x="{LEFT}" y="{middle - BAR / 2:.1f}" {size} rx="3" fill="{fill}"/>')
        parts.append(_text(LEFT + length + 8, middle + 4, bar.stat.text(), f'font-weight="600" {HALO}'))
        y += ROW
    if line:
        y += 22
    return parts, int(y - top) + 24


def _guests(numbers: Numbers, top: int) -> tuple[list[str], int]:
    ways = [
        ("pgxc-lab, warm", "warm", WARM),
        ("pgxc-lab, cold", "cold", COLD),
        ("virsh start, all at once", "virsh", OTHER),
        ("vagrant-libvirt", "vagrant", OTHER),
    ]
    stats = [(label, numbers.stat("guests", subject, "ssh"), colour) for label, subject, colour in ways]
    bars = [Bar(label, stat, colour) for label, stat, colour in stats if stat]
    floor = numbers.floor()
    machine = numbers.machine
    title = f"{machine.get('guests', '?')} guests until ssh answers on the last one"
    small = f"same image, kernel, CPU model and {machine.get('guest-memory', '?')} of memory; shorter is better"
    line = None if floor is None else (floor, f"floor of booting: {number(floor)} s")
    return _bars(top, title, small, bars, line)


def _cluster(numbers: Numbers, top: int) -> tuple[list[str], int]:
    kinds = [("up, cold", "up-cold", COLD), ("up, warm", "up-warm", WARM)]
    kinds += [("rebuild", "rebuild", WARM), ("restore", "restore", WARM)]
    bars = []
    for engine in ENGINES:
        for label, measure, colour in kinds:
            stat = numbers.stat("cluster", engine, measure)
            if stat:
                bars.append(Bar(f"{engine}: {label}", stat, colour))
    small = "from nothing until rows that went in through the first coordinator are counted through the last"
    return _bars(top, "The document's cluster until it is proved", small, bars)


def _growth(numbers: Numbers, top: int) -> tuple[list[str], int]:
    """Lines over the number of guests; every doubling is a step of the same width."""
    series = {}
    for way, colour in (("cold", COLD), ("warm", WARM)):
        stats = [(count, numbers.stat("growth", f"{way}-{count}", "ssh")) for count in COUNTS]
        series[way] = (colour, [(count, stat.median) for count, stat in stats if stat and stat.median is not None])
    values = [value for _, points in series.values() for _, value in points]
    counts = sorted({count for _, points in series.values() for count, _ in points})
    if len(counts) < 2:
        return [], 0
    # Below zero is room for the values of the lower line.
    height, below, left, right = 170, 26, 70, 90
    step = (WIDTH - left - right) / (len(counts) - 1)
    parts = _title(top, "More guests", "seconds until ssh answers on the last one, over the number of guests")
    zero = top + 62 + height
    axis = zero + below
    parts.append(f'<line x1="{left}" x2="{WIDTH - right}" y1="{axis}" y2="{axis}" stroke="{OTHER}"/>')
    for index, count in enumerate(counts):
        parts.append(_text(left + index * step, axis + 18, str(count), f'text-anchor="middle" fill="{FAINT}"'))
    for way, (colour, points) in series.items():
        places = [(left + counts.index(count) * step, zero - height * value / max(values), value) for count, value in points]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in places)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        for x, y, value in places:
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>')
            label = y - 10 if way == "cold" else y + 18
            parts.append(_text(x, label, number(value), f'text-anchor="middle" font-size="12" fill="{colour}" {HALO}'))
        for x, y, _ in places[-1:]:
            parts.append(_text(x + 14, y + 4, way, f'fill="{colour}" font-weight="600"'))
    return parts, int(axis - top) + 44
