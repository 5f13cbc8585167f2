"""Charts as inline SVG: a frame with two axes, and marks drawn in it.

Text stays text, every chart has a title and a description, every mark may have a tip (what a
pointer resting on it shows). Colours come from the page's style sheet, by class, so that a chart
follows it to light, dark and paper.
"""

from collections.abc import Sequence

from markupsafe import Markup, escape

from sdl.report.axes import Axis

CHARACTER = 6.1  # width of a character at the style sheet's 11 px, on average
RIGHT, BOTTOM = 14.0, 38.0
TOP, TOP_BARE = 26.0, 8.0  # above the frame, with and without the name of the upward axis
STRIP = 18.0  # height of the strip below the frame where trials without outcome stand
LONGEST_TICK = 12  # characters
LEAST_GAP = 8.0  # between labels of ticks

Point = tuple[float, float]


class Chart:
    """One chart; draw on it, then take its `svg`. Later marks cover earlier ones."""

    def __init__(
        self,
        x: Axis,
        y: Axis,
        *,
        name: str,
        title: str,
        description: str,
        width: float = 340.0,
        height: float = 240.0,
        strip: str = "",
    ) -> None:
        """Begin with an empty chart.

        :param name: no other chart of the page has it.
        :param title: what it shows; `description` says so to those who do not see it.
        :param strip: what the strip below the frame is called; without, there is none.
        """
        self._x, self._y, self._name = x, y, name
        self._title, self._description, self._strip = title, description, strip
        self._width, self._height = width, height
        longest = max((len(_short(text)) for _, text in y.ticks), default=1)
        self._left = max(longest * CHARACTER + 12, len(strip) * CHARACTER + 10)
        self._right = width - RIGHT
        self._bottom = height - BOTTOM - (STRIP if strip else 0)
        self._top = TOP if y.label else TOP_BARE
        self._under: list[str] = []
        self._rules: list[str] = []
        self._marks: list[str] = []

    # -- marks --------------------------------------------------------------------------------

    def dot(self, x: float, y: float, kind: str, tip: str = "", radius: float = 3.6) -> None:
        at = f'cx="{_n(self.across(x))}" cy="{_n(self.down(y))}" r="{_n(radius)}"'
        self._mark("circle", f"dot {kind}", at, tip)

    def cross(self, x: float, kind: str, tip: str = "") -> None:
        """A cross in the strip."""
        cx, cy, r = self.across(x), self._bottom + STRIP / 2 + 2, 3.2
        down, up = f"l{2 * r} {2 * r}", f"m{-2 * r} 0l{2 * r} {-2 * r}"
        path = f"M{_n(cx - r)} {_n(cy - r)}{down}{up}"
        self._mark("path", f"cross {kind}", f'd="{path}"', tip)

    def interval(self, x: float, low: float, high: float, kind: str) -> None:
        """A vertical bar, as of an uncertainty."""
        at, top, bottom = (_n(v) for v in (self.across(x), self.down(high), self.down(low)))
        self._mark("path", f"interval {kind}", f'd="M{at} {top}V{bottom}"')

    def line(self, points: Sequence[Point], kind: str, *, steps: bool = False) -> None:
        """Join points; with `steps`, keep a value until the next."""
        if not points:
            return
        path, before = [], None
        for x, y in points:
            across, down = _n(self.across(x)), _n(self.down(y))
            if before is None:
                path.append(f"M{across} {down}")
            elif steps:
                path.append(f"H{across}" if down == before else f"H{across}V{down}")
            else:
                path.append(f"L{across} {down}")
            before = down
        self._mark("path", f"line {kind}", f'd="{"".join(path)}"')

    def area(
        self, x: Sequence[float], low: Sequence[float], high: Sequence[float], kind: str
    ) -> None:
        """Fill what lies between two lines, as an interval along x."""
        edge = [*zip(x, high, strict=True), *zip(reversed(x), reversed(low), strict=True)]
        path = "L".join(f"{_n(self.across(at))} {_n(self.down(y))}" for at, y in edge)
        if path:
            self._mark("path", f"area {kind}", f'd="M{path}Z"')

    def bar(
        self, left: float, right: float, low: float, high: float, kind: str, tip: str = ""
    ) -> None:
        """A bar of a histogram."""
        self._mark("rect", f"bar {kind}", self._rectangle((left, right), (low, high), 1.0), tip)

    def cell(self, x: Point, y: Point, share: float, tip: str = "") -> None:
        """A cell of a grid, from one end to the other along both axes; `share` 0 pale, 1 dark."""
        shade = f'fill-opacity="{0.06 + 0.84 * min(max(share, 0.0), 1.0):.2f}"'
        self._mark("rect", "cell", f"{self._rectangle(x, y, -0.2)} {shade}", tip)

    def _rectangle(self, x: Point, y: Point, gap: float) -> str:
        left, right = self.across(x[0]), self.across(x[1])
        bottom, top = self.down(y[0]), self.down(y[1])
        size = f'width="{_n(max(right - left - gap, 0))}" height="{_n(max(bottom - top, 0))}"'
        return f'x="{_n(left + gap / 2)}" y="{_n(top)}" {size}'

    def level(self, y: float, text: str = "") -> None:
        """A horizontal rule, if it is within the axis."""
        if self._y.low <= y <= self._y.high:
            down = self.down(y)
            self._rule(f"M{_n(self._left)} {_n(down)}H{_n(self._right)}")
            if text:
                self._text(self._right - 3, down - 4, text, "note end")

    def border(self, x: float, text: str = "") -> None:
        """A vertical rule, if it is within the axis."""
        if self._x.low <= x <= self._x.high:
            across = self.across(x)
            self._rule(f"M{_n(across)} {_n(self._top)}V{_n(self._bottom)}")
            if not text:
                return
            near_end = across > (self._left + self._right) / 2
            shift, kind = (-4, "note end") if near_end else (4, "note")
            self._text(across + shift, self._top + 11, text, kind)

    def band(self, low: float, high: float) -> None:
        """Shade from `low` to `high` along x, behind everything."""
        left, right = self.across(low), self.across(high)
        at = f'x="{_n(left)}" y="{_n(self._top)}" width="{_n(right - left)}"'
        self._under.append(f'<rect class="band" {at} height="{_n(self._bottom - self._top)}"/>')

    # -- the whole ----------------------------------------------------------------------------

    def svg(self) -> Markup:
        name = escape(self._name)
        inside = "".join([*self._under, *self._frame(), *self._rules, *self._marks])
        return Markup(
            f'<svg class="chart" viewBox="0 0 {_n(self._width)} {_n(self._height)}" role="img" '
            f'aria-labelledby="{name}-t {name}-d"><title id="{name}-t">{escape(self._title)}'
            f'</title><desc id="{name}-d">{escape(self._description)}</desc>{inside}</svg>'
        )

    def across(self, x: float) -> float:
        return self._left + self._x.place(x) * (self._right - self._left)

    def down(self, y: float) -> float:
        return self._bottom - self._y.place(y) * (self._bottom - self._top)

    def _frame(self) -> list[str]:
        left, right, bottom = self._left, self._right, self._bottom
        parts = [_text(0, 11, self._y.label, "label")] if self._y.label else []
        for value, text in self._y.ticks:
            down = self.down(value)
            parts.append(f'<path class="grid" d="M{_n(left)} {_n(down)}H{_n(right)}"/>')
            parts.append(_text(left - 6, down + 3.6, _short(text), "tick end"))
        parts.append(f'<path class="axis" d="M{_n(left)} {_n(bottom)}H{_n(right)}"/>')
        below = bottom + (STRIP if self._strip else 0)
        if self._strip:
            parts.append(_text(left - 6, bottom + STRIP / 2 + 5.6, self._strip, "tick end"))
        parts += self._ticks_across(below)
        parts.append(_text((left + right) / 2, self._height - 5, self._x.label, "label middle"))
        return parts

    def _ticks_across(self, below: float) -> list[str]:
        parts, free = [], -1e9
        for value, text in self._x.ticks:
            at, half = self.across(value), len(_short(text)) * CHARACTER / 2
            parts.append(f'<path class="axis" d="M{_n(at)} {_n(self._bottom)}v4"/>')
            if at - half > free:  # else it would run into its neighbour
                parts.append(_text(at, below + 15, _short(text), "tick middle"))
                free = at + half + LEAST_GAP
        return parts

    def _mark(self, tag: str, kind: str, attributes: str, tip: str = "") -> None:
        inside = f"<title>{escape(tip)}</title>" if tip else ""
        self._marks.append(f'<{tag} class="{escape(kind)}" {attributes}>{inside}</{tag}>')

    def _rule(self, path: str) -> None:
        self._rules.append(f'<path class="rule" d="{path}"/>')

    def _text(self, x: float, y: float, text: str, kind: str) -> None:
        self._marks.append(_text(x, y, text, kind))


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{_n(x)}" y="{_n(y)}">{escape(text)}</text>'


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_TICK else f"{text[: LONGEST_TICK - 1]}…"


def _n(value: float) -> str:
    """A coordinate: a tenth of a pixel is enough."""
    return f"{value:.1f}".removesuffix(".0")
