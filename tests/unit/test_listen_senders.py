"""Who is heard by the event door: signatures, tokens, and the configuration of senders."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.listen.config import read_config, variable
from prefect_genvideo.listen.shapes import Auth, read
from prefect_genvideo.listen.signatures import sign, signature_refusal, token_refusal

NOW = 1_700_000_000
BODY = b'{"prompt": "x"}'
NEW, OLD, WRONG = "secret-number-one-1", "secret-number-two-2", "secret-number-xxx-3"


def headers(secret: str = NEW, delivery_id: str = "d1", at: int = NOW) -> dict[str, str]:
    """Headers of a signed delivery."""
    signature = sign(secret, delivery_id, at, BODY)
    return {"webhook-id": delivery_id, "webhook-timestamp": str(at), "webhook-signature": signature}


def test_a_signature_is_that_of_the_published_example() -> None:
    """The example of the Standard Webhooks specification, so that their libraries sign as we expect."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = b'{"test": 2432232314}'
    expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body) == expected


@pytest.mark.parametrize("secret", [NEW, OLD])
def test_while_a_secret_is_replaced_both_are_valid(secret: str) -> None:
    """A sender may also sign with both."""
    assert signature_refusal([NEW, OLD], headers(secret), BODY, NOW, 300) == ""
    both = headers(WRONG) | {"webhook-signature": f"{headers(WRONG)['webhook-signature']} {sign(NEW, 'd1', NOW, BODY)}"}
    assert signature_refusal([NEW], both, BODY, NOW, 300) == ""


@pytest.mark.parametrize(
    ("changes", "body", "now", "reason"),
    [
        ({}, BODY + b" ", NOW, "signature"),
        ({"webhook-id": "d2"}, BODY, NOW, "signature"),
        ({"webhook-timestamp": str(NOW + 1)}, BODY, NOW, "signature"),
        ({"webhook-signature": "v1,"}, BODY, NOW, "signature"),
        ({"webhook-signature": headers(WRONG)["webhook-signature"]}, BODY, NOW, "signature"),
        ({"webhook-signature": "\xe9"}, BODY, NOW, "signature"),
        ({"webhook-signature": ""}, BODY, NOW, "unsigned"),
        ({"webhook-id": ""}, BODY, NOW, "unsigned"),
        ({"webhook-id": "d" * 300}, BODY, NOW, "unsigned"),
        ({"webhook-timestamp": "soon"}, BODY, NOW, "unsigned"),
        ({"webhook-timestamp": "٣"}, BODY, NOW, "unsigned"),
        ({"webhook-timestamp": "9" * 400}, BODY, NOW, "unsigned"),
        ({}, BODY, NOW + 301, "replay"),
        ({}, BODY, NOW - 301, "replay"),
    ],
)
def test_what_is_not_proved_is_refused(changes: dict[str, str], body: bytes, now: float, reason: str) -> None:
    """Id, time and body are all signed."""
    assert signature_refusal([NEW, OLD], headers() | changes, body, now, 300) == reason


@pytest.mark.parametrize(
    "sent",
    [
        {"authorization": f"Bearer {NEW}"},
        {"authorization": f"bearer  {NEW} "},
        {"authorization": NEW},
        {"authorization": f"Basic {base64.b64encode(f'ceph:{NEW}'.encode()).decode()}"},
        {"x-api-key": NEW},
    ],
)
def test_a_token_comes_as_the_stores_send_it(sent: dict[str, str]) -> None:
    """Bearer, bare as MinIO does, as a password as Ceph does, as EventBridge's key."""
    assert token_refusal([OLD, NEW], sent, "", "token") == ""
    assert token_refusal([OLD], sent, "", "token") == "token"


@pytest.mark.parametrize(
    ("sent", "in_path", "auth"),
    [
        ({}, "", "token"),
        ({}, NEW, "token"),
        ({"authorization": f"Bearer {NEW}"}, "", "path"),
        ({"authorization": ""}, "", "token"),
        ({"authorization": "Basic %%%"}, "", "token"),
        ({"authorization": f"Digest {NEW}"}, "", "token"),
        ({}, "\ud800", "path"),
    ],
)
def test_a_token_elsewhere_proves_nothing(sent: dict[str, str], in_path: str, auth: Auth) -> None:
    """An address is in the logs of proxies: it is heard only of senders that can send nothing else."""
    assert token_refusal([NEW], sent, in_path, auth) == "token"


def test_without_a_file_the_senders_are_those_whose_secrets_are_set(tmp_path: Path) -> None:
    """In a variable, or in a file that a variable names."""
    (tmp_path / "tokens").write_text(f"{NEW}\n{OLD}\n")
    environment = {variable("webhook"): f"{NEW} {OLD}", f"{variable('s3')}_FILE": str(tmp_path / "tokens")}
    _, sources = read_config(None, environment)
    assert {name: source.secrets for name, source in sources.items()} == {"webhook": (NEW, OLD), "s3": (NEW, OLD)}


def test_a_file_names_senders_fields_and_bounds(tmp_path: Path) -> None:
    """What it does not say is the shape's."""
    file = tmp_path / "listen.yaml"
    file.write_text(
        "body_kib: 8\nsources:\n  my-shop:\n    shape: webhook\n    event: shop.published\n"
        "    fields: {body.title: product.title}\n    when: {type: a.b}\n"
    )
    config, sources = read_config(file, {"GENVIDEO_LISTEN_MY_SHOP_SECRETS": NEW})
    shape = sources["my-shop"].shape
    assert config.body_kib == 8
    assert (shape.event, shape.auth, list(shape.facts)) == ("shop.published", "signature", ["body.title"])
    assert shape.wanted["type"].fullmatch("a.b")
    assert not shape.wanted["type"].fullmatch("axb")


def test_a_bus_may_carry_events_of_ones_own(tmp_path: Path) -> None:
    """What the file says of facts and conditions stands for all that the shape knows of objects."""
    file = tmp_path / "listen.yaml"
    file.write_text(
        "sources:\n  bus:\n    shape: eventbridge\n    event: shop.wish\n    when: {detail-type: Wish}\n"
        "    fields: {prompt: detail.words}\n"
    )
    shape = read_config(file, {variable("bus"): NEW})[1]["bus"].shape
    body = {"id": "1", "source": "my.shop", "detail-type": "Wish", "detail": {"words": "a cup", "more": 1}}
    (event,) = read(shape, "bus", body, "d1").events
    assert (event.name, event.payload) == ("shop.wish", {"prompt": "a cup"})
    assert event.resource["prefect.resource.id"] == "genvideo.listen.bus"
    assert read(shape, "bus", body | {"detail-type": "Other"}, "d1").ignored == 1


@pytest.mark.parametrize(
    ("text", "environment", "fields"),
    [
        (None, {}, ["sources"]),
        ("sources: {shop: {shape: fax}}", {}, ["sources.shop", "sources.shop.shape"]),
        ("sources: {shop: {shape: webhook}}", {variable("shop"): "short"}, [variable("shop")]),
        ("sources: {shop: {shape: webhook}}", {variable("shop") + "_FILE": "/no/such"}, [variable("shop") + "_FILE"]),
        (
            "sources: {shop: {shape: webhook, event: prefect.flow-run.Crashed}}",
            {variable("shop"): NEW},
            ["sources.shop.event"],
        ),
        (
            "sources: {shop: {shape: webhook, fields: {a: b, a.c: d}}}",
            {variable("shop"): NEW},
            ["sources.shop.fields"],
        ),
        (
            "sources: {shop: {shape: webhook, resource: 'shop.{body.id}'}}",
            {variable("shop"): NEW},
            ["sources.shop.resource"],
        ),
        ("sources: {Shop: {shape: webhook}}\nbody_kib: 0", {}, ["sources.Shop.[key]", "body_kib"]),
        ("sources: {shop: {shape: webhook, secret: short}}", {}, ["sources.shop.secret"]),
        ("a: [", {}, ["file"]),
        ("- 1", {}, ["file"]),
    ],
)
def test_a_bad_configuration_is_all_its_problems_at_once(
    text: str | None, environment: dict[str, str], fields: list[str], tmp_path: Path
) -> None:
    """And repeats no secret."""
    file = tmp_path / "listen.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InvalidRequestError) as caught:
        read_config(file if text is not None else None, environment)
    assert [problem.field for problem in caught.value.problems] == fields
    assert "short" not in str(caught.value)
