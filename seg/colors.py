"""Colours for classes whose data set names none: told apart by colour-blind people too, and always the same."""

from seg.convert.palette import Color

# Index 0, often the background, is a dark grey; 1 to 3 are of Okabe and Ito's set. Every further one is, of the 5832
# colours whose channels are multiples of 15 and whose lightness is 22 to 88, the farthest in CIELAB from those
# before it, from the void colour and from paper, as normal, protanopic or deuteranopic eyes see it, whichever is worst.
_TABLE = (
    "46464ee69f0056b4e9009e730000ff3c1e87782d006978ffffc3781e6996b4782d1e00b42db4b4a5e1ff3c2d5a874b3c4b4bf00087d2"
    "2d4bc34b7887ffd20078c387ffd25a0f5aa53cc3a596a55a965a2d0096b4691e1ee1963c3c7869d2d2d24b2d7878a5ff4b4b69f01e0f"
    "5a965a3c69d269b4d23c1ee1690f2dd2e1a5002da54b96875a87f0784b4b96c35a69d2ff4b96d22d78b478f0872d696900ff0fb42d0f"
    "f0690f5a3c783c3ca5a5783c2d5ae1b4c3d278785a2d78963c2dc34b96a54b2d4b5ad2a5d2c33c87c37869b487782d1e874b2d3c3cff"
    "c3e1f02dc3b44b9696785aff1e5a96f0d2694b2d87b4694b691e001e87b4b4c3e1d2d2c378b43c4b3c3c78b4ff2d69e1a569001e5ab4"
    "96a56969a5d2a5961e96a54bc3c34bc32d692d2dd27896ffe15a785a3c2d2d78d23ca587873c78a55a4b3cd20000695a962d1e69005a"
    "3c69b45a96e1a5d296a53c1e5a0f690069870000c3e1a5c3b45aff78c3ff0f5ac30f3c2dff96780000e1002dffa5d2875a4b2d3c96c3"
    "692d5a781e3c1e693c4b0096d200871e967800f05a87964ba50f874b3c695aa59669f04b3c87c3874b5a1e3cb45aa5c3b40fa5871e4b"
    "d2c3699696691e4bd2001ea50000d25af0b44b78e1a53c789669a5690f961e69a5b4b49678f0e13c5a0fb4785a87693cb40f5a2dc300"
    "1e69c3ff3cc3f0a55a96691ec396e13c87e15a00788778965af02d5ac3f03cd2f01e1eb4692d964b4b4b2de1a5d269a5e1b4c33cb496"
    "69f0782d5ad23c3ce1a5873c2d4b87c369f03c4be11ea5a51ea5b4b4b4e18787695ab4a51e4bb4a5b469a55a7878e1e196f09669a5f0"
    "c300961e1ec3a54b693c3cc3a51e002d2db4964b4b691e0ff06996ffd2873c96002d3cd20f874b871e78f03c8778e17896692d87d2b4"
    "87b4785a4b3c0f1ed296e196d2b43c785a78e187c34be1f0a5963cf03ce11e3c0f2d8787c369c3b4b4d2a5962de187d22d5affb45a69"
    "5a4b5a872df03c0ff0d2a54b875af03c5a874bc34b00d2c3a50f961e964be13c1ea54b5a4bc36969c396ffd24ba5a52dc387f0c33c1e"
    "b45a5ae11eb4a54ba5"
)


def safe_colors(number: int) -> list[Color]:
    """Return colours that stay apart under protanopia and deuteranopia; colour i is the same whatever the number.

    The closest two of the first 8 are 29 apart in CIELAB, of the first 12 24, of 20 17, however they are seen;
    Pascal VOC's map has 4 in its first 4. `benchmarks/palette.py` measures it and makes the table.

    Args:
        number: 0 to 255.

    """
    assert 0 <= number <= 255, number
    return [(r, g, b) for r, g, b in (bytes.fromhex(_TABLE[6 * i : 6 * i + 6]) for i in range(number))]
