"""Sizes, counts and times as people write them."""

from collections.abc import Sequence


def human_bytes(value: int) -> str:
    amount = float(value)
    for unit in ("B", "kB", "MB", "GB"):
        if round(amount, 1) < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.2f} TB"


def human_count(value: int) -> str:
    """A number of parameters as the field writes it: 3.4 M, 7.2 B."""
    return f"{value / 1e9:.2f} B" if value >= 5e8 else f"{value / 1e6:.1f} M"


def human_seconds(value: float) -> str:
    if round(value, 1) < 60:
        return f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    return f"{minutes} min {seconds:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def few(names: Sequence[str], most: int = 3) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
