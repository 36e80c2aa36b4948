"""Pictures of surfaces in Debian's packages of two games, in the public domain, under CC0 or MIT.

Debian's copyright files say file by file who made what and what may be done with it. Of the
thousands of pictures in these packages most are copyleft and are not touched; those below are not,
and show a surface and nothing else. A picture counts only if its SHA-256 is that of the file whose
licence was looked up: another version of the package may have another one in its place.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from drive_rl.errors import DriveRLError, UsageError

PUBLIC, CC0, MIT = "public domain", "CC0-1.0", "MIT"


class Picture(NamedTuple):
    """A picture of a game.

    Attributes:
        path: inside of the game's folder or archive.
        author: as Debian's copyright file names them; "" where it names those of many files at
            once.
        group: pictures made of one and the same photograph have one; "" for a picture of its own.
    """

    path: str
    surface: str
    licence: str
    author: str
    sha256: str
    group: str = ""


class Game(NamedTuple):
    """Where a game's pictures are.

    Attributes:
        package: of Debian.
        place: a folder, or an archive as zip.
    """

    package: str
    place: Path
    pictures: tuple[Picture, ...]


TRAK = 'Georges "TRaK" Grondin'
_UFOAI = (
    Picture(
        *("textures/tex_buildings/floor005.png", "asphalt", PUBLIC, ""),
        "dacfd5410d8b96dc2de559d4ecb88c8fe151d186ff8e429544faefedcb418c40",
    ),
    Picture(
        *("textures/tex_trak/trak4_concrete1a.png", "concrete", MIT, TRAK),
        "4942b1f328fc171809c62896e729d1af8c56a5e2315881ac838a4b8a92924feb",
    ),
    Picture(
        *("textures/tex_trak/trak4_concrete2a.png", "concrete", MIT, TRAK),
        "ec571d39182b1040221c585d4caa60a97e87e7542dcd763fc653dd490abcfaa8",
    ),
    Picture(
        *("textures/tex_trak/trak4_concrete4a.png", "concrete", MIT, TRAK),
        "f9f7001de627b6b97247af09e1d36750b49aafdff76b80cc539cf40e3627343e",
    ),
    Picture(
        *("textures/tex_trak/trak4_concrete5a.png", "concrete", MIT, TRAK),
        "58ace9818d498003702c2510601e5c8fe2ee02b0deaee66a1be3964e8412ac83",
    ),
    Picture(
        *("textures/tex_nature/dirt002.png", "dirt", PUBLIC, ""),
        "82433adb08bd76843a18458824a516bd04d9f499ea2cb04f9e621bc28279be63",
    ),
    Picture(
        *("textures/tex_nature/dirt003.png", "dirt", PUBLIC, ""),
        "c72d4b97ad1bcee3c61f9e573f2b18236eeff53f975015951f211780fc001c8a",
    ),
    Picture(
        *("textures/tex_nature/railway.png", "gravel", PUBLIC, ""),
        "88eb90df0ecf7c9d5ecc460d84c97536e34e34cc3ca976b906f484781b312728",
    ),
    Picture(
        *("textures/tex_buildings/paving001.png", "paving", PUBLIC, ""),
        "c322a165536c58342b1fcf5a5d2084397d5a4bff5cbc3ad62ea41a6d3241b8cd",
    ),
    Picture(
        *("textures/tex_buildings/tile01.png", "paving", PUBLIC, ""),
        "145d61ae68327d7e55aeab97e8dd8d1961f3ac70d1a1b8251ab98ad57280d44b",
    ),
    Picture(
        *("textures/tex_buildings/tile02.png", "paving", PUBLIC, ""),
        "2b4a3285088cb5f6456f837e3ef05bb607ab9aa3ee4e584bf2e76c656918e2a3",
    ),
    Picture(
        *("textures/tex_trak/trak4_brick1.png", "paving", MIT, TRAK),
        "1776e22dc1542142f597e638fa9f1ffd28d671c19a8b168fcd6b0b0e38569044",
    ),
    Picture(
        *("textures/tex_trak/trak4_brick2.png", "paving", MIT, TRAK),
        "00ca7ab5fa9c81350380e6cec3110617d53eefbf36cf9d99eaf4b2be2c0e840b",
        "trak4_brick2",
    ),
    Picture(
        *("textures/tex_trak/trak4_brick2a.png", "paving", MIT, TRAK),
        "d9fa3b2641c1c6ad403106a5c43cd8f3bf31412a5736779040ff96a4141d7702",
        "trak4_brick2",
    ),
    Picture(
        *("textures/tex_trak/trak4_brick2b.png", "paving", MIT, TRAK),
        "ef69b6765abea7cec1d1f1536e5bedf2fbd3e79cd640b730cac32822958ccaae",
        "trak4_brick2",
    ),
    Picture(
        *("textures/tex_nature/rock017.png", "rock", PUBLIC, ""),
        "0d719bb1e16581544c3c139fd1445c6ecc9103a640d3555ef27ffb1ee31e7d2e",
    ),
    Picture(
        *("textures/tex_nature/rock018.png", "rock", PUBLIC, ""),
        "10a63f0bbd739d46a6a50fa9fd0d7be883b820b264402130694ccf5ed4b08872",
    ),
    Picture(
        *("textures/tex_nature/stone001.png", "rock", PUBLIC, ""),
        "dbaffa4bb9679efa87407b03f89402eed56ba6cc3a2e22032904a3888883cf00",
    ),
)
_BURNINGWELL, _SAMUNCLE = "BurningWell", "BurningWell, Jean-Manuel Clémençon (SamUncle)"
_SUPERTUXKART = (
    Picture(
        *("tracks/stk_enterprise/img_0572.png", "concrete", CC0, "Benau, after BurningWell"),
        "b8cfb2422fb691c464aea66b22b1a03bfa8411605bce00f8ab156dfe90c583aa",
    ),
    Picture(
        *("tracks/cave/Ground010_1K_Color.png", "dirt", CC0, "ambientCG"),
        "8869593836656ad9ca09cddd117e7fcf77e1754dc2cefb3a8d257b0c0a951ea9",
    ),
    Picture(
        *("textures/Tizeta_grey1.png", "gravel", PUBLIC, _BURNINGWELL),
        "9ceed5232d3ddc807d733d91476bbe269336630b2774e62f33a40d8fa075d155",
    ),
    Picture(
        "tracks/ancient_colosseum_labyrinth/3td_BrickOldRound_01.jpg",
        *("paving", CC0, "Ron Kapaun/3TD Studios"),
        "69a9a087323fea4020712cfab9c818bcf01962b7e2d2476c9c557070873a280b",
    ),
    Picture(
        *("textures/hacienda_ground.jpg", "paving", PUBLIC, _SAMUNCLE),
        "7c6015fc0a0e699a60b4761596ca9e3cd9f5bb0ff376ba226320f131628c13e6",
    ),
    Picture(
        *("textures/rockwall.jpg", "paving", PUBLIC, _SAMUNCLE),
        "83451beb6cef0ddc79d0448da97796299224dfa1a2e35cc4476459fa19218c2a",
    ),
    Picture(
        *("textures/blackrock.jpg", "rock", PUBLIC, _BURNINGWELL),
        "817e82b60c6dccd4583183cb83de51d051e4946a883ae0c4ca0507031f489c6b",
    ),
    Picture(
        *("textures/rockMountain.jpg", "rock", PUBLIC, _BURNINGWELL),
        "376ca56f05ef64817fb7f8b73fc2dff1b385592f657421df4a5eea79969f8507",
    ),
    Picture(
        *("textures/rock_mountain.jpg", "rock", PUBLIC, _SAMUNCLE),
        "8ad7104e51258d037720be29ebf85d19e8487506e7f1e478ed95b72ceeba061d",
    ),
)
_GAMES = Path("/usr/share/games")
GAMES = {
    "ufoai": Game("ufoai-textures", _GAMES / "ufoai/base/0textures.pk3", _UFOAI),
    "supertuxkart": Game("supertuxkart-data", _GAMES / "supertuxkart/data", _SUPERTUXKART),
}


def read_pictures(name: str) -> Iterator[tuple[Picture, bytes | None]]:
    """The pictures of a game with their files' content; None where it is not the one meant.

    Raises:
        UsageError: the package is not installed.
        DriveRLError: its archive is damaged.
    """
    game = GAMES[name]
    if not game.place.exists():
        raise UsageError(
            f"source {name!r} needs Debian's package {game.package} ({game.place} is missing)"
        )
    try:
        root = game.place if game.place.is_dir() else zipfile.Path(game.place)
    except (OSError, zipfile.BadZipFile) as error:
        raise DriveRLError(f"{game.place} cannot be read ({error})") from None
    for picture in game.pictures:
        content = _content(root / picture.path, game.place)
        known = content is not None and hashlib.sha256(content).hexdigest() == picture.sha256
        yield picture, content if known else None


def _content(file: Path | zipfile.Path, place: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None
    except (OSError, zipfile.BadZipFile) as error:
        raise DriveRLError(f"{place} cannot be read ({error})") from None
