"""Templates: what they can say, and what they cannot do."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import date, datetime, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_genvideo.batch.formats import RawRow, Table
from prefect_genvideo.batch.manifest import rows_from
from prefect_genvideo.batch.model import ManifestLimits
from prefect_genvideo.batch.rows import read_rows
from prefect_genvideo.batch.templates import render
from prefect_genvideo.errors import InvalidRequestError
from tests.fixtures.expected import refusing

VARIABLES: dict[str, Any] = {
    "city": "Rome",
    "n": 3,
    "tags": ["b", "a"],
    "date": date(2026, 11, 22),
    "due": datetime(2026, 11, 22, 9, 30, tzinfo=timezone.utc),
    "vars": {"city": "Rome", "items": 5, "two words": "x"},
    "empty": None,
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ city }} {{ city | upper }} {{ city.lower() }} {{ city[0] }}{{ city[1:] }}", "Rome ROME rome Rome"),
        ("{{ date }}: {{ date.strftime('%d %B') }}, {{ date.year }}", "2026-11-22: 22 November, 2026"),
        ("{{ due.hour }}h{{ due | strftime('%M') }} {{ date.isoformat() }}", "9h30 2026-11-22"),
        (
            "{{ n + 1 }} {{ n * 2 }} {{ 7 // n }} {{ -n }} {{ 'ha' * 2 }} {{ 'a' + 'b' }} {{ n ~ 'x' }}",
            "4 6 2 -3 haha ab 3x",
        ),
        ("{% for t in tags | sort %}{{ loop.index }}{{ t }}{% if not loop.last %},{% endif %}{% endfor %}", "1a,2b"),
        ("{% for k, v in vars.items() %}{{ k }}={{ v }};{% endfor %}", "city=Rome;items=5;two words=x;"),
        ("{{ vars.items }} {{ vars['two words'] }} {{ vars.get('no', 'none') }}", "5 x none"),
        ("{{ mood | default('calm') }}{{ empty or '' }}{{ ' yes' if city is defined else ' no' }}", "calm yes"),
        ("{{ ['x', 'y'][n % 2] }} {{ n in [1, 3] }} {{ range(3) | join('-') }}", "y True 0-1-2"),
        ("{% set a = city.replace('R', 'D') %}{{ a | replace('m', 'v') | truncate(3) }}", "Do…"),
        ("{{ tags | first }}{{ tags | last }}{{ tags | length }}{{ tags | reverse | unique | join }}", "ba2ab"),
        ("{{ '2.6' | float | round | int }} {{ 2.25 | round(1) }} {{ 'a b'.split() | join('+') }}", "3 2.2 a+b"),
        ("{{ city.startswith('R') }} {{ city.endswith('x') }} {{ ' x ' | trim }}", "True False x"),
        ("{# said to nobody #}{% raw %}{{ x }}{% endraw %}\n", "{{ x }}\n"),
    ],
)
def test_what_templates_can_say(template: str, text: str) -> None:
    """Words, dates, numbers, attempts and loops."""
    assert render(template, VARIABLES) == text


@pytest.mark.parametrize("text", ["{", "}", "a {b} c", "{ {", "%}", "{#", "100 %", "", "{'json': 1}"])
def test_a_text_without_template_syntax_is_left_alone(text: str) -> None:
    """Prompts may hold braces."""
    assert render(text, {}) == text


def test_what_a_row_knows() -> None:
    """Fields, variables, the row's number and the calendar's day."""
    fields = {
        "model": "m",
        "duration": 5,
        "due": "2026-11-24",
        "vars": {"city": "Oslo", "today": "mine"},
        "prompt": "{{ row }} {{ model }} {{ duration }} {{ vars.city }} {{ date }} {{ weekday }} {{ today }}",
        "images": ["{{ city | lower }}.jpg"],
        "first_frame": "s3://b/{{ date }}.png",
        "key": "{{ date }}-{{ row }}",
    }
    table = Table([RawRow(1, {"model": "m", "prompt": "{{ today }} {{ date }}"}), RawRow(2, fields)])
    first, row = read_rows("", table, today=date(2026, 11, 22), limits=ManifestLimits()).rows
    assert first.request.prompt == "2026-11-22 2026-11-22"
    assert row.request.prompt == "2 m 5 Oslo 2026-11-24 Tuesday mine"
    assert row.request.assets() == {"images[0]": "oslo.jpg", "first_frame": "s3://b/2026-11-24.png"}
    assert row.key == "2026-11-24-2"


def test_a_variable_is_never_a_template() -> None:
    """What a stranger wrote into a cell is inserted, not run."""
    [row] = rows_from([{"model": "m", "prompt": "{{ x }}", "vars": {"x": "{{ 1 + 1 }}"}}]).rows
    assert row.request.prompt == "{{ 1 + 1 }}"


def test_a_missing_variable_is_an_error_with_a_hint() -> None:
    """An empty string in its place would be paid for."""
    with refusing(reason="'cty' is undefined; did you mean city?"):
        render("{{ cty }}", VARIABLES)
    with refusing(reason="'xyz' is undefined; there are city, date, due, empty, n, tags, vars"):
        render("{{ xyz.abc }}", VARIABLES)


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{ empty }}", "null"),
        ("{{ tags }}", "join"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{", "unexpected"),
        ("{% for x in n %}{% endfor %}", "no list"),
        ("{{ city % 3 }}", "does not go with str and int"),
        ("{{ nothing + 1 }}", "'nothing' is undefined"),
        ("{{ tags[9] }}", "no item 9"),
        ("{{ vars.nothing }}", "nothing"),
        ("{{ city | strftime('%d') }}", "for dates"),
        ("{{ city.isoformat() }}", "for dates"),
        ("{{ city.keys() }}", "no mapping"),
        ("{{ tags | map('upper') }}", "no filter 'map'"),
        ("{{ city is callable }}", "no test 'callable'"),
        ("{{ range(*tags) }}", "plain arguments"),
    ],
)
def test_mistakes_are_explained(template: str, why: str) -> None:
    """Each with what to change."""
    with pytest.raises(InvalidRequestError) as caught:
        render(template, VARIABLES)
    assert why in (caught.value.reason or "")


HOSTILE = [
    "{{ 'a' * 10**9 }}",
    "{{ 'a' * 1000000000 }}",
    "{{ 1000000000 * 'a' }}",
    "{{ 'a'.ljust(1000000000) }}",
    "{{ 'a' | center(1000000000) }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '{:1000000000}'.format(1) }}",
    "{{ date.strftime('%1000000000d') }}",
    "{{ ('a' * 9000) | replace('a', 'b' * 9000) }}",
    "{{ tags | join('b' * 20000) }}",
    "{{ range(1000000000) }}",
    "{% for i in range(1000) %}{% for j in range(1000) %}{% endfor %}{% endfor %}",
    "{% for i in range(1000) %}" + "{{ city }}" * 20 + "{% endfor %}",
    "{% set a = 'abcdefgh' %}" + "{% set a = a ~ a %}" * 40,
    "{% set a = 'abcdefgh' %}" + "{% set a = a + a %}" * 40,
    "{% set a = 99 %}" + "{% set a = a * a %}" * 40,
    "{% set a = [1] %}" + "{% set a = [a, a] %}" * 40,
    "{% set a = [1] %}" + "{% set a = a + a %}" * 40,
    "{{ 9" + "9" * 5000 + " }}",
    "{{ " + "(" * 1000 + "1" + ")" * 1000 + " }}",
    "{{ " + "not " * 4000 + "1 }}",
    "{{ 1" + "+1" * 5000 + " }}",
    "{{ city" + ".a" * 5000 + " }}",
    "x" * 20_001 + "{{ n }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ city['__class__'] }}",
    "{{ city | attr('__class__') }}",
    "{{ self._TemplateReference__context }}",
    "{{ self['_TemplateReference__context'] }}",
    "{{ lipsum.__globals__ }}",
    "{{ cycler.__init__.__globals__.os }}",
    "{{ date.today() }}",
    "{{ tags.append(1) }}",
    "{{ vars.clear() }}",
    "{{ loop(1) }}",
    "{% for x in tags recursive %}{{ loop(tags) }}{% endfor %}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}",
    "{% extends 'x' %}",
    "{% filter upper %}x{% endfilter %}",
    "{% set x %}y{% endset %}",
    "{{ namespace() }}",
    "{{ [1, 2] | random }}",
    "{{ {'a': 1} }}",
]


@pytest.mark.parametrize("template", HOSTILE, ids=range(len(HOSTILE)))
def test_what_templates_cannot_do(template: str) -> None:
    """Neither fill the memory, nor run long, nor reach Python, files, the clock or chance."""
    started = time.process_time()
    with pytest.raises(InvalidRequestError):
        render(template, VARIABLES)
    assert time.process_time() - started < 5


def test_the_templates_of_a_row_share_one_meter() -> None:
    """Three hundred times a little too much is far too much; the next row starts anew."""
    busy = [f"{{% for i in range(900) %}}{{% endfor %}}{number}.jpg" for number in range(100)]
    one = [f"{{{{ row }}}}-{number}.jpg" for number in range(100)]
    long = [f"{{{{ {'(' * 9} row {')' * 9} }}}}{'.' * 18_000}{number}" for number in range(100)]
    lists = [{"model": "m", name: texts} for texts in (busy, long) for name in ("images", "videos", "audios")]
    rows = [{"model": "m", "images": one, "videos": one, "audios": one, "fallback": ["n"] * 8}, *lists]
    manifest = rows_from(rows)
    assert [row.number for row in manifest.rows] == [1]
    assert manifest.rows[0].fallback[7].request.images == tuple(f"1-{number}.jpg" for number in range(100))
    for number in range(2, 8):
        refused = [found.problem for found in manifest.problems if found.row == number]
        assert 80 < len(refused) < 100
        assert all("too much work" in problem.limit for problem in refused)


def test_the_meter_cannot_be_reached() -> None:
    """No variable of a row replaces it."""
    with refusing(reason="it does too much work; make its loops shorter, or give the row fewer templates"):
        render("{% for i in range(1000) %}{% for j in range(1000) %}{% endfor %}{% endfor %}", {"*meter": "x"})


WORDS = [
    "{{",
    "}}",
    "{%",
    "%}",
    "#}",
    "city",
    "n",
    "tags",
    "date",
    "vars",
    "range",
    "upper",
    "join",
    "loop",
    "__class__",
]
SIGNS = [*"{}%|.[]()+-*~_1=", " ", "'a'", "for", "in", "if", "set", "endfor", "endif", "is", "not"]
PIECES = st.sampled_from([*WORDS, *SIGNS])


@settings(max_examples=150)
@given(st.lists(PIECES, max_size=20).map(" ".join) | st.text(max_size=40).map("{{{{ {} }}}}".format))
def test_any_text_renders_or_is_refused(template: str) -> None:
    """Nothing but the tree's error leaves."""
    with suppress(InvalidRequestError):
        assert len(render(template, VARIABLES)) <= 20_000
