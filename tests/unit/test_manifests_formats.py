"""Formats of a batch's file: one batch in five notations, and what each of them gets wrong."""

from __future__ import annotations

import json
import math
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_genvideo import plain_yaml as manifest_yaml
from prefect_genvideo.batch.formats import read_table
from prefect_genvideo.batch.manifest import load_manifest
from prefect_genvideo.batch.model import Manifest, ManifestLimits
from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.models import VideoRequest
from prefect_genvideo.plain_yaml import parse_yaml
from tests.fixtures.expected import refusing

JSONL = """\
{"model": "m", "prompt": "{{ city }}", "duration": 5, "images": ["a.jpg", "b.jpg"], "options": {"seed": 7},
""".replace(",\n", ', "vars": {"city": "Oslo"}, "fallback": ["n"], "tags": ["x"], "aspect_ratio": "16:9"}\n')
YAML = """\
defaults: {model: m, aspect_ratio: 16:9}
rows:
  - prompt: "{{ city }}"
    duration: 5
    images: [a.jpg, b.jpg]
    options: {seed: 7}
    vars: {city: Oslo}
    fallback: [n]
    tags: [x]
"""
CSV = """\
model,Prompt,duration,images,options.seed,city,fallback,tags,Aspect Ratio,due
m,{{ city }},5,a.jpg|b.jpg,7,Oslo,n,x,16:9,
"""
SAME = {
    "a.jsonl": JSONL,
    "a.json": f"[{JSONL}]",
    "b.json": json.dumps({"rows": [json.loads(JSONL)]}),
    "a.csv": CSV,
    "b.csv": CSV.replace(",", ";").replace("\n", "\r\n"),
    "a.tsv": CSV.replace(",", "\t").replace("\n", "\r"),
    "a.yaml": YAML,
}
WANTED = VideoRequest(
    model="m", prompt="Oslo", duration=5, images=("a.jpg", "b.jpg"), options={"seed": 7}, aspect_ratio="16:9"
)


async def load(folder: Path, name: str, text: str | bytes) -> Manifest:
    """Write a file and load it."""
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return await load_manifest(path)


def limit_of(error: InvalidRequestError) -> str:
    """What a file that is refused as a whole breaks."""
    [problem] = error.problems
    assert problem.field == "manifest"
    return problem.limit


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("name", SAME)
@pytest.mark.parametrize("by", ["extension", "content"])
async def test_one_batch_in_every_notation(tmp_path: Path, name: str, mark: bytes, by: str) -> None:
    """The same rows come out, whether the extension tells the format or the content."""
    manifest = await load(tmp_path, name if by == "extension" else "batch", mark + SAME[name].encode())
    manifest.check()
    [row] = manifest.rows
    assert row.request == WANTED
    assert row.vars == {"city": "Oslo"}
    assert [(a.request.model, a.request.prompt) for a in row.fallback] == [("n", "Oslo")]
    assert row.tags == ("x",)
    assert manifest.name in {name, "batch"}


async def test_rows_are_numbered_as_people_count(tmp_path: Path) -> None:
    """Lines in JSONL and CSV, also behind blank lines and cells of several lines; rows in JSON and YAML."""
    jsonl = await load(tmp_path, "a.jsonl", '\n{"model": "m"}\n\nnonsense\n[1]\n{"model": "m"}\n')
    assert [row.number for row in jsonl.rows] == [2, 6]
    assert [(p.row, p.problem.field) for p in jsonl.problems] == [(4, "(line)"), (5, "(row)"), (5, "model")]
    assert jsonl.where(jsonl.problems[0]) == "line 4"
    csv = await load(tmp_path, "a.csv", 'model,prompt\nm,"two\nlines"\n\n,x\nm,{{ row }}\n')
    assert [(row.number, row.request.prompt) for row in csv.rows] == [(2, "two\nlines"), (6, "3")]
    assert [(p.row, p.problem.field) for p in csv.problems] == [(5, "model")]
    rows = await load(tmp_path, "a.json", '[{"model": "m"}, {}]')
    assert [rows.where(p) for p in rows.problems] == ["row 2"]


# CSV


async def test_csv_cells(tmp_path: Path) -> None:
    """Numbers become numbers where the field is one; JSON may stand in lists and objects; variables stay texts."""
    text = (
        "model,duration,timeout,images,options,options.flag,options.word,vars.n,007\n"
        'm,7.5,600,"[""a|b.jpg""]","{""seed"": 1}",TRUE,plain,007,5\n'
    )
    [row] = (await load(tmp_path, "a.csv", text)).rows
    assert (row.request.duration, row.request.timeout, row.request.images) == (7.5, 600, ("a|b.jpg",))
    assert row.request.options == {"seed": 1, "flag": True, "word": "plain"}
    assert row.vars == {"n": "007", "007": "5"}


@pytest.mark.parametrize(
    ("text", "row", "field", "limit"),
    [
        ("model,duration\nm,five\n", 2, "duration", "number of seconds"),
        ("model,images\nm,[oops\n", 2, "images", "valid JSON"),
        ("model,options\nm,5\n", 2, "options", "JSON object"),
        ('model,options\nm,"{""a"":1,""a"":2}"\n', 2, "options", "stands twice"),
        ("model\nm,extra\n", 2, "(line)", "the header has 1"),
        ("model,\nm,extra\n", 2, "(line)", "no name"),
        ('model,prompt\nm,ok\nm,"never closed\n', 3, "(line)", "from here on"),
        ('model,prompt\nm,"a"b\n', 2, "(line)", "from here on"),
        ("model,prompt\nm," + "x" * 200_000 + "\n", 2, "(line)", "field limit"),
    ],
)
async def test_broken_csv_rows(tmp_path: Path, text: str, row: int, field: str, limit: str) -> None:
    """Each is a problem of its line."""
    manifest = await load(tmp_path, "a.csv", text)
    assert [(p.row, p.problem.field) for p in manifest.problems] == [(row, field)]
    assert limit in manifest.problems[0].problem.limit


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ("model,duraton", "did you mean duration?"),
        ("model,image", "did you mean images?"),
        ("model,Ratio", "did you mean aspect_ratio?"),
        ("model,Model", "two columns"),
        ("model,city,city", "two columns"),
        (",".join(f"c{i}" for i in range(501)), "more than 500 columns"),
        ('"never closed', "header"),
    ],
)
async def test_broken_csv_headers(tmp_path: Path, header: str, why: str) -> None:
    """A column that looks like a misspelt field is never taken for a variable."""
    with refusing("manifest", limit=why) as caught:
        await load(tmp_path, "a.csv", f"{header}\nm,5\n")
    assert why in limit_of(caught.value)


async def test_a_header_alone_is_a_batch_of_nothing(tmp_path: Path) -> None:
    """A calendar may be empty; a file without anything is a mistake."""
    assert (await load(tmp_path, "a.csv", "model,prompt\n")).rows == []
    assert (await load(tmp_path, "a.json", "[]")).rows == []
    with refusing("manifest", limit="empty"):
        await load(tmp_path, "a.csv", " \n")


# Encodings, sizes, structure


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("model\ncafé\n".encode("latin-1"), "is not UTF-8: byte 0xe9 on line 2"),
        ("model\nm\n".encode("utf-16"), "looks like UTF-16"),
        ("model\nm\n".encode("utf-16-le"), "NUL"),
        (b"model\n\0\n", "NUL"),
        ("model,prompt\nm,两只狗在海边\n".encode("gbk"), "looks like GBK"),
        ("model,prompt\nm,größer und schön\n".encode("cp1252"), "is not UTF-8: byte 0xf6"),
        (b"PK\x03\x04\x14\0\x06\0\x08\0\0\0!\0", "is a workbook"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is a workbook"),
    ],
)
async def test_other_encodings_are_named(tmp_path: Path, data: bytes, why: str) -> None:
    """The error says which byte on which line, and what to do."""
    with pytest.raises(InvalidRequestError) as caught:
        await load(tmp_path, "a.csv", data)
    assert why in limit_of(caught.value)


@pytest.mark.parametrize("prompt", ["一只猫", "一群猫 at dawn", "a hospital: 医院", "夜色", "太太", "一位"])
@pytest.mark.parametrize("row", ["model,prompt\nm,{}\n", '{{"model": "m", "prompt": "{}"}}\n'])
async def test_gbk_that_happens_to_be_utf_8(tmp_path: Path, prompt: str, row: str) -> None:
    """A few Chinese words in GBK may be letters of several scripts in UTF-8: nonsense is not paid for."""
    data = row.format(prompt).encode("gbk")
    data.decode()
    with refusing("manifest", limit="GBK") as caught:
        await load(tmp_path, "batch", data)
    assert prompt.removesuffix(" at dawn").rpartition(" ")[2] in limit_of(caught.value)
    assert (await load(tmp_path, "batch", b"\xef\xbb\xbf" + data)).rows


@pytest.mark.parametrize(
    "prompt",
    [
        "Ein Mädchen läuft über die Brücke, naïve façade, Überraschung",
        "L'été à Besançon, œuvre, où",
        "Кошка открывает для себя море",
        "ті́ло й Київ; ҡала, һыу",
        "Η γάτα ανακαλύπτει τη θάλασσα, 5 µm, 20 °C, ±×÷«»",
        "חתולה מגלה את הים, שָׁלוֹם",
        "قطة تكتشف البحر، مُحَمَّد",
        "կատուն",
        "Nguyễn, Łódź, Čeština, İstanbul, ğüşö",
        unicodedata.normalize("NFD", "Київ, Besançon, ά"),
        "m̧ā ll̄ā",
        "一只猫发现大海",
        "猫が海を見つける – 고양이",
    ],
)
async def test_every_script_is_taken_in_utf_8(tmp_path: Path, prompt: str) -> None:
    """What people write is not mistaken for another encoding."""
    manifest = await load(tmp_path, "a.csv", f'model,prompt\nm,"{prompt}"\n')
    assert [row.request.prompt for row in manifest.rows] == [prompt]


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("a.json", '{"model": "m"}', "perhaps `defaults`"),
        ("a.json", '{"rows": [], "row": 1}', "not row"),
        ("a.json", '{"rows": {}}', "`rows` (a list)"),
        ("a.json", '{"rows": [], "defaults": [1]}', "`defaults` (an object)"),
        ("a.json", '[{"a": 1, "a": 2}]', "'a' stands twice"),
        ("a.json", "[", "line 1 column 2"),
        ("a.json", "[" * 100_000, "nested too deeply"),
        ("a.json", "5", "must be a list"),
        ("a.yaml", "a: [", "line 2"),
        ("a.yaml", "just words", "must be a list"),
    ],
)
async def test_files_that_are_no_batch(tmp_path: Path, name: str, text: str, why: str) -> None:
    """The error says what the file must be."""
    with pytest.raises(InvalidRequestError) as caught:
        await load(tmp_path, name, text)
    assert why in limit_of(caught.value)


async def test_numbers_that_are_none(tmp_path: Path) -> None:
    """NaN, infinity and endless digits are problems of their field."""
    for value in ("NaN", "-Infinity", "1e999", "9" * 5000, "9" * 30):
        manifest = await load(tmp_path, "a.jsonl", f'{{"model": "m", "options": {{"seed": {value}}}}}')
        assert [p.problem.field for p in manifest.problems] == ["options.seed"]


async def test_sizes_are_bounded(tmp_path: Path) -> None:
    """Bytes, rows, and fewer bytes for YAML."""
    text = '{"model": "m"}\n' * 4
    with refusing("manifest", limit=f"{32 << 20} bytes"):
        await load(tmp_path, "a.jsonl", b" " * ((32 << 20) + 1))
    for name, content in {"a.jsonl": text, "a.csv": "model\n" + "m\n" * 4, "a.yaml": "- {model: m}\n" * 4}.items():
        with refusing("manifest", limit="3 rows"):
            read_table(name, content.encode(), ManifestLimits(max_rows=3))
    with refusing("manifest", limit="20 bytes"):
        read_table("a.yaml", YAML.encode(), ManifestLimits(max_yaml_bytes=20))


@pytest.mark.parametrize(
    ("name", "start", "cell", "end"),
    [("a.json", "[", "[],", "[]]"), ("a.json", '[{"vars": [', '{"":0},', "0]}]"), ("a.jsonl", "", "[]\n", "[]")],
)
async def test_small_values_cannot_fill_the_memory(tmp_path: Path, name: str, start: str, cell: str, end: str) -> None:
    """A file of nothing but brackets takes eighty times its bytes: it is refused before it is read."""
    text = start + cell * ((32 << 20) // len(cell) - 10) + end
    with refusing("manifest", limit="3000000 values"):
        await load(tmp_path, name, text)


def test_filled_cells_are_counted() -> None:
    """Empty ones cost nothing."""
    limits = ManifestLimits(max_values=6)
    assert len(read_table("a.csv", b"model,a,b\nm,,\nm,,\nm,1,\nm,,\n", limits).rows) == 4
    with refusing("manifest", limit="6 values"):
        read_table("a.csv", b"model,a,b\nm,1,2\nm,1,2\nm,,\n", limits)


# YAML


def test_yaml_words_mean_what_they_say() -> None:
    """Ratios, `on`, `yes`, dates and ids with leading zeros stay texts."""
    text = """
    ratio: 16:9
    on: [quota]
    answer: yes
    due: 2026-11-22
    id: 007
    quoted: "5"
    tagged: !!str 5
    int: -5
    float: 1.5e3
    none: ~
    empty:
    truth: true
    not_a_number: .nan
    """
    value = parse_yaml(text)
    assert math.isnan(value.pop("not_a_number"))
    assert value == {
        "ratio": "16:9",
        "on": ["quota"],
        "answer": "yes",
        "due": "2026-11-22",
        "id": "007",
        "quoted": "5",
        "tagged": "5",
        "int": -5,
        "float": 1500.0,
        "none": None,
        "empty": None,
        "truth": True,
    }


def test_yaml_anchors_and_merges() -> None:
    """What people share between rows by anchor arrives; a row's own fields win."""
    rows = parse_yaml("- &a {model: m, duration: 5}\n- {<<: *a, duration: 8}\n- {<<: [*a, {x: 1}]}\n- *a\n")
    assert rows == [
        {"model": "m", "duration": 5},
        {"model": "m", "duration": 8},
        {"model": "m", "duration": 5, "x": 1},
        {"model": "m", "duration": 5},
    ]


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (BOMB, "expands to more than"),
        ("&a [*a]", "names itself"),
        ("*nobody", "names nothing"),
        ("[" * 40 + "]" * 40, "nested deeper"),
        ("[" * 100_000, "nest"),
        ("- " * 50_000, "nested deeper"),
        ("&a [&b [" + "[" * 25 + "]" * 25 + "], [[[[[[[*b]]]]]]]]", "nested deeper"),
        ("!!python/object/apply:os.system ['true']", "tag"),
        ("!!binary aGk=", "tag"),
        ("{a: 1, a: 2}", "stands twice"),
        ("{[1]: 2}", "must be a text"),
        ("&a x: 1\n*a : 2", "cannot be an alias"),
        ("<<: 5", "takes a mapping"),
        ("a\n---\nb", "more than one"),
        ("\x07", "control characters"),
    ],
)
def test_yaml_that_is_refused(text: str, why: str) -> None:
    """Bombs, cycles, code and doubles, each with its line where there is one."""
    with pytest.raises(ValueError) as caught:
        parse_yaml(text)
    assert why in str(caught.value)


def test_yaml_without_libyaml(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyYAML's own parser does for small files where there is no libyaml."""
    monkeypatch.delattr(manifest_yaml.yaml, "CBaseLoader", raising=False)
    assert parse_yaml("a: [1, 16:9]") == {"a": [1, "16:9"]}
    with pytest.raises(ValueError, match="nested deeper"):
        parse_yaml("[" * 100)
    for text in ("[" * 1000, "a" * 300_000):
        with pytest.raises(ValueError, match="JSONL"):
            parse_yaml(text)


# Anything at all

NAMES = st.sampled_from(["a.jsonl", "a.json", "a.csv", "a.yaml", "a"])
FRAGMENTS = st.sampled_from(
    [
        *"{}[],:;|\"'\n\t#&*-!<>%?",
        "model",
        "prompt",
        "rows",
        "defaults",
        "images",
        "m",
        "1",
        "null",
        "{{ x }}",
        "\r\n",
        "é",
    ]
)


@settings(max_examples=200)
@given(NAMES, st.binary(max_size=200) | st.lists(FRAGMENTS, max_size=40).map(lambda parts: "".join(parts).encode()))
def test_any_bytes_are_a_table_or_refused(name: str, data: bytes) -> None:
    """Nothing but the tree's error leaves, whatever the file holds."""
    refusal = ""
    try:
        read_table(name, data, ManifestLimits())
    except InvalidRequestError as error:
        refusal = str(error)
    assert all(line.isprintable() for line in refusal.splitlines())
