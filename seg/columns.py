"""Names in columns of a terminal: letters of Chinese, Japanese or Korean take two places there, and so do emoji."""

import unicodedata


def places(text: str) -> int:
    """Return how many places of a terminal a text takes (Unicode's annex 11); accents and joiners take none."""
    return sum(
        0 if unicodedata.category(letter) in ("Mn", "Me", "Cf") else 1 + (unicodedata.east_asian_width(letter) in "FW")
        for letter in text
    )


def padded(text: str, wide: int) -> str:
    """Return a text cut to so many places, and followed by spaces to take all of them."""
    while places(text) > wide:
        text = text[:-1]
    return text + " " * (wide - places(text))
