"""Numbers, prices, times and dates as they are read out, by rule."""

from typing import Final

_SMALL: Final = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
)  # fmt: skip
_TENS: Final = (
    "", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
)  # fmt: skip
_ORDINALS: Final = {
    "one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth",
    "nine": "ninth", "twelve": "twelfth",
}  # fmt: skip


def number(value: int) -> str:
    """A whole number from 0 to 999 999: 342 is "three hundred and forty-two"."""
    if value < 20:
        return _SMALL[value]
    if value < 100:
        tens, ones = divmod(value, 10)
        return _TENS[tens] + (f"-{_SMALL[ones]}" if ones else "")
    if value < 1000:
        hundreds, rest = divmod(value, 100)
        return f"{_SMALL[hundreds]} hundred" + (f" and {number(rest)}" if rest else "")
    thousands, rest = divmod(value, 1000)
    joint = " and " if 0 < rest < 100 else " "
    return f"{number(thousands)} thousand" + (f"{joint}{number(rest)}" if rest else "")


def ordinal(value: int) -> str:
    """The place of something, 1 to 99: 21 is "twenty-first"."""
    head, _, last = number(value).rpartition("-")
    if last in _ORDINALS:
        last = _ORDINALS[last]
    else:
        last = last[:-1] + "ieth" if last.endswith("y") else last + "th"
    return f"{head}-{last}" if head else last


def year(value: int) -> str:
    """A year from 1100 to 2099 in pairs: 1984 is "nineteen eighty-four"."""
    if 2000 <= value < 2010:
        return number(value)
    century, rest = divmod(value, 100)
    if rest == 0:
        return f"{number(century)} hundred"
    return f"{number(century)} {'oh ' if rest < 10 else ''}{number(rest)}"


def price(dollars: int, cents: int) -> str:
    """ "four dollars and fifty cents"."""
    parts = []
    if dollars or not cents:
        parts.append(f"{number(dollars)} dollar{'s' * (dollars != 1)}")
    if cents:
        parts.append(f"{number(cents)} cent{'s' * (cents != 1)}")
    return " and ".join(parts)


def clock(hour: int, minute: int) -> str:
    """A time by a twelve-hour clock: 7, 45 is "seven forty-five"; a full hour has "o'clock"."""
    if minute == 0:
        return f"{number(hour)} o'clock"
    return f"{number(hour)} {'oh ' if minute < 10 else ''}{number(minute)}"
