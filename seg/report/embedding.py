"""One self-contained file: scripts, styles, data and pictures inside a page that may fetch and run nothing else."""

import base64
import hashlib
import json
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from markupsafe import Markup

from seg.files import replacing
from seg.report.thumbnails import FILES

WHOLE = 29_000_000
"""Characters of plotly, data and pictures that a page of 30 MB has room for; all else takes less than the rest."""


def render(template: str, scripts: Sequence[str], data: Mapping[str, Any], **values: Any) -> str:
    """Return the page of a template of this package.

    Args:
        template: name of a file in `templates`.
        scripts: names of files there, run in this order after plotly.
        data: what the scripts read, as JSON.
        values: what the template shows; escaped.

    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("seg.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["share"] = share
    environment.filters["figure"] = figure
    sources = [plotly(), '"use strict";\n' + "\n".join(source(name) for name in scripts)]
    # Hashes instead of trust: a script that slipped in with a name would not be run, and nothing can be fetched.
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in sources)
    allowed = ["default-src 'none'", f"script-src {hashes}", "style-src 'unsafe-inline'", "img-src data: blob:"]
    policy = "; ".join([*allowed, "base-uri 'none'", "form-action 'none'"])
    return environment.get_template(template).render(
        policy=policy,
        style=Markup(source("style.css")),
        scripts=[Markup(text) for text in sources],
        data=embedded_json(data),
        **values,
    )


def room_beside(data: Mapping[str, Any]) -> int:
    """Return how many characters of pictures a page has room for beside plotly and what its scripts read."""
    return max(0, WHOLE - len(plotly()) - len(embedded_json(data)))


def save(out: Path, html: str) -> None:
    """Write a page, whole or not at all.

    Raises:
        ValueError: it cannot be written.

    """
    try:
        with replacing(out) as temporary:
            temporary.write_text(html, encoding="utf-8")
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"{out}: cannot be written ({reason}); give another place with --out") from error


def source(name: str) -> str:
    """Return a file of `templates`."""
    return resources.files("seg.report").joinpath("templates", name).read_text(encoding="utf-8")


@cache
def plotly() -> str:
    """Return plotly's JavaScript, as the Python package brings it along."""
    from plotly.offline import get_plotlyjs

    # an inline script ends at the first </script, wherever it stands; the hash is of the text as the browser sees it
    text: str = get_plotlyjs().replace("\r\n", "\n").replace("</script", "<\\/script")
    return text


def embedded_json(value: Any) -> Markup:
    """Return JSON that cannot end the script element that it stands in; NaN and infinity become null."""
    text = json.dumps(finite(value), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    # ASCII alone leaves no U+2028 either; a lone surrogate stays the escape that it is
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def finite(value: Any) -> Any:
    """Return lists, dicts and numbers with None in the place of what JSON has no number for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): finite(item) for name, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list | tuple) else value


def printable(text: Any) -> str:
    """Return text that UTF-8 can write: half characters, as odd file names hold, become question marks."""
    return str(text).encode("utf-8", "replace").decode("utf-8")


def data_url(kind: str, content: bytes) -> str:
    """Return a picture as a data URL."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def packed(pictures: Mapping[str, bytes]) -> str:
    """Return pictures as lines of base64: image, truth, prediction, confidence; an empty line for what is not there.

    For a script element of its own, which the browser does not look into before it is wanted.
    """
    return "\n".join(base64.b64encode(pictures.get(name, b"")).decode() for name in FILES)


def colored(png: bytes, colors: Sequence[Sequence[int]]) -> bytes:
    """Return a grey PNG of labels as one that shows them in their classes' colours, its pixels untouched."""
    from seg.convert.palette import full_palette

    head_end = 8 + 25  # signature; length, name, 13 bytes and checksum of the header
    header = bytearray(png[16:29])
    header[9] = 3  # colour type: indexed
    palette = bytes(full_palette(list(colors)[:255]))
    return png[:8] + _chunk(b"IHDR", bytes(header)) + _chunk(b"PLTE", palette) + png[head_end:]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def figure(value: float | None) -> str:
    """Return a score as it is written everywhere: three digits, n/a where it is undefined."""
    return "n/a" if value is None or value != value else f"{value:.3f}"


def share(value: float | None) -> str:
    """Return a share of a whole in per cent, with as many digits as make a small one visible."""
    if value is None or value != value:
        return "n/a"
    percent = 100 * value
    return f"{percent:.1f} %" if percent >= 0.1 or percent == 0 else f"{percent:.2g} %"
