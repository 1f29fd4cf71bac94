"""The tables that people rely on are held against the code, and the two languages against each other."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from prefect_genvideo import errors
from prefect_genvideo.media.inspect import MediaInfo
from prefect_genvideo.models import VideoRequest
from prefect_genvideo.providers import ArkClient, SenseAudioClient, SudashuiClient, VideoClient
from prefect_genvideo.providers.sudashui.rules import UPLOAD_LIMITS
from prefect_genvideo.ready.project import Project
from tests.packaging.markdown import codes, fences, links, table, tables
from tests.packaging.sources import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"
README = ENGLISH.read_text(encoding="utf-8")
DOCS = ROOT / "docs"
LIMITS = (DOCS / "providers.md").read_text(encoding="utf-8")
TROUBLES = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
DEPLOYMENTS = Project(Path("x"), "production", "my-videos").texts()["prefect.yaml"]
CLIENTS: dict[str, VideoClient] = {
    "Sudashui": SudashuiClient("sk-x"),
    "SenseAudio": SenseAudioClient("sk-x"),
    "Ark": ArkClient("sk-x"),
}
RATIOS = ("1:1", "3:4", "4:3", "9:16", "16:9", "21:9", "adaptive")
RESOLUTIONS = ("480p", "720p", "1080p", "4k")


def numbers(cell: str) -> list[int]:
    """The whole numbers of a cell: `409,600–927,408` is two."""
    return [int(found.replace(",", "")) for found in re.findall(r"\d[\d,]*", cell)]


MODELS = [(row["provider"], model, row) for row in table(LIMITS, "models") for model in codes(row["model"])]


def refused(provider: str, model: str, row: dict[str, str], **changes: Any) -> set[str]:
    """The fields that the provider's rules complain about, in a request that keeps the row but for the changes."""
    seconds = numbers(row["seconds"])[0]
    resolution = None if provider == "Sudashui" else codes(row["resolution"])[0]
    request = VideoRequest(
        model=model, prompt="a cat", duration=seconds, aspect_ratio="16:9", resolution=resolution
    ).model_copy(update=changes)
    return {problem.field for problem in CLIENTS[provider].validate(request)}


def test_the_table_has_every_documented_model() -> None:
    """No model more, none less, each at its provider."""
    listed = {name: {model for provider, model, _ in MODELS if provider == name} for name in CLIENTS}
    assert listed == {name: set(client.documented_models) for name, client in CLIENTS.items()}


@pytest.mark.parametrize(("provider", "model", "row"), MODELS, ids=[model for _, model, _ in MODELS])
def test_the_table_of_models_is_what_the_rules_say(provider: str, model: str, row: dict[str, str]) -> None:
    """Each cell is tried: what it allows passes, what it does not is refused."""

    def fields(**changes: Any) -> set[str]:
        return refused(provider, model, row, **changes)

    shortest, longest = numbers(row["seconds"])
    allowed = {shortest, longest} if " or " in row["seconds"] else set(range(shortest, longest + 1))
    assert {seconds for seconds in range(1, 40) if not fields(duration=seconds)} == allowed

    ratios = codes(row["aspect ratio"])
    if ratios == ["n:m"]:
        assert not fields(aspect_ratio="7:5")
    else:
        assert {ratio for ratio in (*RATIOS, "7:5") if not fields(aspect_ratio=ratio)} == set(ratios)

    resolutions = codes(row["resolution"])
    given = {resolution for resolution in RESOLUTIONS if not fields(resolution=resolution)}
    assert given == set(resolutions)

    link, picture = "https://example.com/a", "https://example.com/a.jpg"
    for column in ("images", "videos", "audios"):
        (most,) = numbers(row[column])
        beside = {"images": (picture,)} if column == "audios" and most else {}
        assert not fields(**{**beside, column: (link,) * most})
        assert column in fields(**{column: (link,) * (most + 1)})

    # Where every ratio goes with a text, some models take no other with frames.
    ratio = "adaptive" if provider == "Ark" else "16:9"
    first, last, both = (
        not fields(aspect_ratio=ratio, **frames)
        for frames in (
            {"first_frame": picture},
            {"last_frame": picture},
            {"first_frame": picture, "last_frame": picture},
        )
    )
    assert (
        row["frames"]
        == {
            (False, False, True): "both",
            (True, False, True): "first, or both",
            (True, False, False): "first",
            (False, False, False): "none",
        }[first, last, both]
    )


def test_the_notes_below_the_models_are_what_the_rules_say() -> None:
    """Sums over references, whole seconds, audio alone, frames beside references."""
    sudashui, seedance = "sd-2-720p", "Seedance-2.0"
    rows = {model: row for _, model, row in MODELS}
    link = "https://example.com/a"

    def fields(provider: str, model: str, **changes: Any) -> set[str]:
        return refused(provider, model, rows[model], **changes)

    assert fields("SenseAudio", seedance, duration=4.5)
    assert fields("Sudashui", sudashui, duration=4.5)
    assert fields("Sudashui", sudashui, images=(link,) * 9, videos=(link,) * 3, audios=(link,))
    assert not fields("Sudashui", sudashui, images=(link,) * 9, videos=(link,) * 3)
    assert fields("SenseAudio", seedance, audios=(link,))
    frames = {"first_frame": link, "last_frame": link}
    for column in ("images", "videos", "audios"):
        assert fields("Sudashui", sudashui, **frames, **{column: (link,)})
    assert fields("SenseAudio", seedance, **frames, images=(link,))
    seedance_2_5, seedance_1_0 = "doubao-seedance-2-5-260628", "doubao-seedance-1-0-pro-250528"
    for column in ("images", "videos", "audios"):
        assert fields("Ark", seedance_2_5, aspect_ratio="adaptive", **frames, **{column: (link,)})
    assert (
        CLIENTS["Ark"].body(VideoRequest(model=seedance_2_5, aspect_ratio="16:9", first_frame=link))["ratio"]
        == "adaptive"
    )
    assert fields("Ark", seedance_1_0, aspect_ratio="adaptive")
    assert not fields("Ark", seedance_1_0, aspect_ratio="adaptive", first_frame=link)
    assert not fields("Ark", seedance_2_5, duration=-1)
    assert fields("Ark", seedance_1_0, duration=-1)
    assert fields("Ark", "doubao-seedance-2-0-260128", audios=(link,))
    assert not fields("Ark", seedance_2_5, audios=(link,))
    for column, sums in {"audios": {15.5: True, 15.0: False}, "videos": {1.5: True, 2.0: False, 15.5: True}}.items():
        for seconds, broken in sums.items():
            assert bool(media_problems("Sudashui", column, seconds=seconds)) is broken


def media_problems(provider: str, column: str, **facts: Any) -> list[str]:
    """What the rules say about one reference with these facts."""
    kinds = {"images": ("image", "image/jpeg"), "videos": ("video", "video/mp4"), "audios": ("audio", "audio/mpeg")}
    kind, media_type = kinds[column]
    usual: dict[str, Any] = {
        "kind": kind,
        "media_type": media_type,
        "size": 1_000_000,
        "width": 800,
        "height": 800,
        "seconds": 5.0,
    }
    info = MediaInfo(**{**usual, **facts})
    model, resolution = {
        "Sudashui": ("sd-2-720p", None),
        "SenseAudio": ("Seedance-2.0", "720p"),
        "Ark": ("doubao-seedance-2-0-260128", "720p"),
    }[provider]
    request = VideoRequest(model=model, prompt="a", duration=5, resolution=resolution)
    request = request.model_copy(update={column: ("https://example.com/a",)})
    problems = CLIENTS[provider].validate(request, {f"{column}[0]": info})
    return [str(problem) for problem in problems]


def test_the_table_of_files_is_what_the_rules_say() -> None:
    """Sudashui's kinds, bytes and pixels, at both sides of each limit."""
    sudashui = table(LIMITS, "files")[0]
    mb = 1024 * 1024
    words = {"image": "images", "video": "videos", "audio": "audios"}
    for media_type, limit in UPLOAD_LIMITS.items():
        column = words[limit.kind]
        assert limit.extensions[-1].strip(".") in sudashui[column]
        below = next(int(found) for found in re.findall(r"below (\d+) MB", sudashui[column])) * mb
        assert not media_problems("Sudashui", column, media_type=media_type, size=below - 1)
        assert media_problems("Sudashui", column, media_type=media_type, size=below)
    fewest, most = numbers(sudashui["videos"].rpartition("MB")[2])
    assert not media_problems("Sudashui", "videos", width=fewest, height=1)
    assert media_problems("Sudashui", "videos", width=fewest - 1, height=1)
    assert not media_problems("Sudashui", "videos", width=most, height=1)
    assert media_problems("Sudashui", "videos", width=most + 1, height=1)


@pytest.mark.parametrize(("place", "provider"), [(1, "SenseAudio"), (2, "Ark")], ids=["SenseAudio", "Ark"])
def test_the_table_of_files_is_what_the_rules_of_inlining_providers_say(place: int, provider: str) -> None:
    """Bytes, sides, ratios, seconds and rates, at both sides of each limit."""
    row, mb = table(LIMITS, "files")[place], 1024 * 1024
    megabytes, low, high = numbers(row["images"].partition("ratio")[0])
    largest = megabytes * mb - ("below" in row["images"])
    assert not media_problems(provider, "images", size=largest)
    assert media_problems(provider, "images", size=largest + 1)
    assert media_problems(provider, "images", width=low - 1, height=low)
    assert media_problems(provider, "images", width=high + 1, height=high)
    assert not media_problems(provider, "images", width=low, height=low)
    narrow, wide = re.findall(r"\d\.\d", row["images"].partition("jpg")[0])
    assert not media_problems(provider, "images", width=int(1000 * float(wide)), height=1000)
    assert media_problems(provider, "images", width=int(1000 * float(wide)) + 10, height=1000)
    assert media_problems(provider, "images", width=int(1000 * float(narrow)) - 10, height=1000)
    videos = re.sub(r"mp4|\([^)]*\)", "", row["videos"])
    most_mb, short, long, fewest, most, slow, fast = numbers(videos)[:7]
    edges = {"size": (1, most_mb * mb), "seconds": (short, long), "fps": (slow, fast)}
    for fact, (low, high) in edges.items():
        for value, fine in ((low - 1, fact == "size"), (low, True), (high, True), (high + 1, False)):
            assert bool(media_problems(provider, "videos", **{"seconds": 5.0, fact: value})) is not fine
    assert media_problems(provider, "videos", width=640, height=fewest // 640 - 1)
    tall = int((most / 2) ** 0.5) + 1
    assert media_problems(provider, "videos", width=2 * tall, height=tall)
    most_mb, short, long = numbers(row["audios"].replace("mp3", ""))[:3]
    for facts in ({"size": most_mb * mb + 1}, {"seconds": short - 1}, {"seconds": long + 1}):
        assert media_problems(provider, "audios", **facts)


def test_the_table_of_errors_is_the_tree() -> None:
    """Every class of `errors.py` in its order, with what a machine may do."""
    classes = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.GenVideoError) and kind is not errors.GenVideoError
    ]
    rows = [(codes(row["error"])[0], row["again"]) for row in table(TROUBLES, "errors")]
    assert rows == [(kind.__name__, "yes" if kind.retryable else "no") for kind in classes]


def test_the_table_of_deployments_is_the_file() -> None:
    """Each as `flow/deployment`; a flow is named like its function."""
    found = re.findall(r"^  - name: (\S+)\n    entrypoint: \S+[:.](\w+)$", DEPLOYMENTS, re.M)
    listed = [codes(row["deployment"])[0] for row in table(README, "deployments")]
    assert sorted(listed) == sorted(f"{flow.replace('_', '-')}/{name}" for name, flow in found)


def test_the_table_of_blocks_names_their_slugs() -> None:
    """As flows and deployments write them."""
    import prefect_genvideo

    (rows,) = (found[1:] for found in tables(README) if found[0][:2] == ["block", "slug"])
    for block, slug, _ in rows:
        kind: Any = getattr(prefect_genvideo, codes(block)[0])
        assert codes(slug) == [kind.get_block_type_slug()]


def test_the_extras_are_those_of_the_project() -> None:
    """No extra is forgotten or invented."""
    (rows,) = (found[1:] for found in tables(README) if found[0][0] == "extra")
    assert [codes(row[0])[0] for row in rows] == list(PROJECT["project"]["optional-dependencies"])


# Both languages


PROMPTS = {
    "A cat discovers the sea, cinematic, golden hour": "一只橘猫第一次看见大海，黄昏，电影感",
    "Let the cat in @image1 look up, cinematic": "让 @image1 里的猫抬头，电影感",
    "A lighthouse at dawn, slow aerial approach": "黎明的灯塔，航拍缓慢靠近",
    "A lighthouse at dawn": "黎明的灯塔",
    "A cat on a roof": "屋顶上的一只猫",
    "{{ city }} at dawn, slow drone shot": "黎明的{{ city }}，无人机缓慢飞过",
    "The lamp turns off as the sun rises": "太阳升起，灯塔熄灭",
    "Waves on the rocks below": "海浪拍打下方的礁石",
    "A red kite over the dunes": "沙丘上空的红色风筝",
}
"""What the examples ask for, in each reader's language."""


def test_both_languages_hold_the_same_code() -> None:
    """Blocks are the same to the letter and in the same order, but for the prompts."""

    def translated(text: str) -> str:
        for english, chinese in PROMPTS.items():
            text = text.replace(f'"{english}"', f'"{chinese}"')
        return text

    english = [(fence.language, translated(fence.text)) for fence in fences(ENGLISH)]
    assert [(fence.language, fence.text) for fence in fences(CHINESE)] == english
    assert [prompt for prompt in PROMPTS if f'"{prompt}"' not in README] == []


def facts(path: Path) -> list[list[list[object]]]:
    """Names, figures and limits of a page's tables; the words between them are each language's own."""
    found = tables(path.read_text(encoding="utf-8"))
    return [[[codes(cell), re.findall(r"\d+(?:[.,]\d+)*", cell)] for row in rows[1:] for cell in row] for rows in found]


def test_both_languages_hold_the_same_tables() -> None:
    """Of the README, all of them."""
    assert facts(CHINESE) == facts(ENGLISH)


@pytest.mark.parametrize("page", ["providers.md", "troubleshooting.md"])
def test_tables_in_chinese_say_the_same(page: str) -> None:
    """Pages in Chinese have the tables that are held against the code, and leave the rest to the English ones."""
    translated, original = facts(DOCS / "zh" / page), facts(DOCS / page)
    assert translated
    assert [rows for rows in translated if rows not in original] == []


@pytest.mark.parametrize("path", [ENGLISH, CHINESE], ids=["en", "zh"])
def test_links_lead_somewhere(path: Path) -> None:
    """Every relative link is a file or folder of the clone."""
    text = path.read_text(encoding="utf-8")
    relative = [link.partition("#")[0] for link in links(text) if "://" not in link]
    assert relative
    assert [link for link in relative if not (ROOT / link).exists()] == []


def test_both_languages_link_the_same() -> None:
    """But for the link to the other language, and pages that are there in Chinese."""
    own = {path: list(links(path.read_text(encoding="utf-8"))) for path in (ENGLISH, CHINESE)}
    assert own[ENGLISH][0] == CHINESE.name
    assert own[CHINESE][0] == ENGLISH.name
    pages = [link.replace("docs/zh/", "docs/") for link in own[CHINESE][1:]]
    assert own[ENGLISH][1:] == pages
