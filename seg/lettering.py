"""Letters in pictures: a font that has them, and text cut to the room there is."""

import functools

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Asked for by name, as Pillow finds fonts of the system; each draws scripts that the ones before it lack.
FONTS = ("DejaVuSans.ttf", "NotoSansCJK-Regular.ttc", "Arial Unicode.ttf", "PingFang.ttc", "msyh.ttc")


@functools.cache
def _fonts(size: int) -> list[Font]:
    fonts: list[Font] = [ImageFont.load_default(size)]
    for name in FONTS:
        try:
            fonts.append(ImageFont.truetype(name, size))
        except (OSError, ImportError):
            continue
    return fonts


@functools.cache
def _draws(index: int, size: int, character: str) -> bool:
    """Tell whether a font has the character, rather than the box that stands for a missing one."""
    font = _fonts(size)[index]
    if not isinstance(font, ImageFont.FreeTypeFont):
        return ord(character) < 256
    return character.isspace() or bytes(font.getmask(character)) != bytes(font.getmask("\U0010fffe"))


def choose_font(text: str, size: int) -> tuple[str, Font]:
    """Return the font that lacks the fewest characters, and the text with "?" for those it lacks."""
    text = "".join(character if character.isprintable() else " " for character in text)
    best, missing = _fonts(size)[0], set(text)
    for index, font in enumerate(_fonts(size)):
        lacking = {character for character in text if not _draws(index, size, character)}
        if len(lacking) < len(missing) or index == 0:
            best, missing = font, lacking
        if not missing:
            break
    return "".join("?" if character in missing else character for character in text), best


def fit_text(text: str, size: int, width: float) -> tuple[str, Font]:
    """Return the font and as much of the text as is no wider than `width` pixels, with dots where it was cut."""
    text, font = choose_font(text, size)
    if font.getlength(text) <= width:
        return text, font
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength(text[:middle].rstrip() + "...") <= width else (low, middle - 1)
    return text[:low].rstrip() + "...", font
