"""Signatures of providers, checked against vectors that they have published, and against those who tamper."""

import base64
import hashlib
import hmac
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from melagent.domain import signatures
from melagent.domain.signatures import Generic, GitHub, Proof, Slack, StandardWebhooks, Stripe, Unproven


@dataclass(frozen=True)
class Signed:
    """A call that is genuine. `header` holds the signature, and `time` the header with the time, if there is one."""

    scheme: signatures.Scheme
    secret: str
    body: bytes
    headers: dict = field(repr=False)
    now: float
    header: str
    time: str | None = None

    def prove(self, *, body=None, secret=None, now=None, **headers):
        sent = CIMultiDict({**self.headers, **headers})
        return self.scheme.prove(
            self.secret if secret is None else secret,
            sent,
            self.body if body is None else body,
            self.now if now is None else now,
        )


# https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries#testing-the-webhook-payload-validation
# prints these three values.
GITHUB = Signed(
    GitHub(),
    "It's a Secret to Everybody",
    b"Hello, World!",
    {"X-Hub-Signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"},
    1_700_000_000,
    "X-Hub-Signature-256",
)

# https://docs.slack.dev/authentication/verifying-requests-from-slack, the example of the step-by-step guide; also in
# the tests of slackapi/python-slack-sdk, tests/slack_sdk/signature/test_signature_verifier.py
SLACK = Signed(
    Slack(),
    "8f742231b10e8888abcd99yyyzzz85a5",
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
    b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
    b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
    b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c",
    {
        "X-Slack-Request-Timestamp": "1531420618",
        "X-Slack-Signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
    },
    1531420618,
    "X-Slack-Signature",
    "X-Slack-Request-Timestamp",
)

# standard-webhooks/standard-webhooks, libraries/python/tests/test_webhooks.py, test_sign_function; the specification
# itself (spec/standard-webhooks.md) prints a signature, but no secret.
STANDARD = Signed(
    StandardWebhooks(),
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    b'{"test": 2432232314}',
    {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    },
    1614265330,
    "webhook-signature",
    "webhook-timestamp",
)


# stripe/stripe-dotnet, src/StripeTests/Services/Events/EventUtilityTest.cs, over Resources/event_test_signature.json;
# https://docs.stripe.com/webhooks/signature#verify-manually describes the scheme and prints a signature, but no secret.
STRIPE = Signed(
    Stripe(),
    "webhook_secret",
    b"""{
  "id": "evt_123",
  "object": "event",
  "account": "acct_123",
  "api_version": "2017-05-25",
  "created": 1533204620,
  "data": {
    "object": {
      "id": "cus_123",
      "object": "customer",
      "created": 123456789,
      "email": "test@stripe.com",
      "livemode": false,
      "metadata": {}
    }
  },
  "livemode": false,
  "pending_webhooks": 1,
  "request": {
    "id": "req_123",
    "idempotency_key": "idempotency-key-123"
  },
  "type": "customer.created"
}
""",
    {
        "Stripe-Signature": "t=1533204620,v1=2220f87ef101a04665f11cdf770523143f875572008577fa0f20882ddb9cc3c7"
        ",v0=63f3a72374a733066c4be69ed7f8e5ac85c22c9f0a6a612ab9a025a9e4ee7eef"
    },
    1533204620,
    "Stripe-Signature",
)


def stripe_signature(secret, version="v1"):
    """The signature of the body above under another secret, or as if it were of another version."""
    signed = hmac.new(secret.encode(), b"1533204620." + STRIPE.body, hashlib.sha256).hexdigest()
    return f"{version}={signed}"


# RFC 4231, test case 2 (HMAC-SHA-256 and -512), and RFC 2202, test case 2 (HMAC-SHA-1)
RFC_KEY, RFC_BODY = "Jefe", b"what do ya want for nothing?"
RFC_SHA256 = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
RFC_SHA512 = (
    "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fd"
    "caeab1a34d4a6b4b636e070a38bce737"
)
RFC_SHA1 = "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"
GENERIC = Signed(
    Generic("X-Signature", prefix="sha256="),
    RFC_KEY,
    RFC_BODY,
    {"X-Signature": f"sha256={RFC_SHA256}"},
    0,
    "X-Signature",
)
DATED = Signed(
    Generic("X-Sig", encoding="base64", time_header="X-Time", tolerance_seconds=60),
    RFC_KEY,
    RFC_BODY,
    {
        "X-Sig": base64.b64encode(hmac.digest(b"Jefe", b"1700000000." + RFC_BODY, "sha256")).decode(),
        "X-Time": "1700000000",
    },
    1_700_000_000,
    "X-Sig",
    "X-Time",
)

ALL = {
    "github": GITHUB, "slack": SLACK, "standard": STANDARD, "stripe": STRIPE, "generic": GENERIC, "dated": DATED,
}  # fmt: skip
WITH_TIME = {name: ALL[name] for name in ("slack", "standard", "stripe", "dated")}

every = pytest.mark.parametrize("signed", ALL.values(), ids=ALL)
dated = pytest.mark.parametrize("signed", WITH_TIME.values(), ids=WITH_TIME)


@every
def test_a_genuine_call_is_proven(signed):
    proof = signed.prove()
    assert isinstance(proof, Proof)
    assert proof.dated == (signed in WITH_TIME.values())


@every
def test_another_body_another_secret_or_no_signature_prove_nothing(signed):
    for change in (
        {"body": signed.body + b" "},
        {"body": signed.body[:-1]},
        {"body": b""},
        {"secret": "whsec_" + base64.b64encode(b"another").decode()},
        {signed.header: ""},
        {signed.header: "v1"},
    ):
        with pytest.raises(Unproven):
            signed.prove(**change)
    with pytest.raises(Unproven):
        signed.scheme.prove(signed.secret, CIMultiDict(), signed.body, signed.now)


@every
def test_a_signature_that_was_touched_proves_nothing(signed):
    text = signed.headers[signed.header]
    end = text.index(",v0") if signed is STRIPE else len(text)
    last = end - 2 if text[end - 1] == "=" else end - 1
    other = "0" if text[last] != "0" else "1"
    touched = [
        text[:last] + other + text[last + 1 :],
        text[: end - 4],
        text[: end - 1] + "é",
        text[: end - 1] + "\udcff",
        text[:end] + "00",
        text[: end // 2],
        text[: end // 2] + " " + text[end // 2 :],
    ]
    for changed in touched:
        with pytest.raises(Unproven):
            signed.prove(**{signed.header: changed})


@dated
def test_a_signature_counts_for_so_long_and_not_longer(signed):
    tolerance = signed.scheme.tolerance_seconds
    for late in (-tolerance, tolerance):
        signed.prove(now=signed.now + late)
    for late in (-tolerance - 1, tolerance + 1, 1e9):
        with pytest.raises(Unproven, match="ago"):
            signed.prove(now=signed.now + late)


@dated
@pytest.mark.parametrize("time", ["", "x", "-1", "1.5", "1e9", "١٥٣١٤٢٠٦١٨", "1531420618 ", "9" * 30, "nan", "0x10"])
def test_a_time_that_is_no_number_of_seconds_proves_nothing(signed, time):
    headers = (
        {signed.time: time}
        if signed.time
        else {signed.header: signed.headers[signed.header].replace("t=1533204620", f"t={time}")}
    )
    with pytest.raises(Unproven):
        signed.prove(**headers)


@dated
def test_the_time_is_part_of_what_is_signed(signed):
    later = str(int(signed.now) + 1)
    headers = (
        {signed.time: later}
        if signed.time
        else {signed.header: signed.headers[signed.header].replace("1533204620", later)}
    )
    with pytest.raises(Unproven, match="fit"):
        signed.prove(**headers)


def test_of_several_signatures_one_has_to_fit():
    """While keys are rotated both sign: Stripe repeats v1, Standard Webhooks puts a space between."""
    good, other = stripe_signature(STRIPE.secret), stripe_signature("old")
    for several in (f"{other},{good}", f"{good},{other}", f"v1=zz,{good}"):
        STRIPE.prove(**{"Stripe-Signature": f"t=1533204620,{several}"})
    fits = STANDARD.headers["webhook-signature"]
    other = "v1," + base64.b64encode(b"x" * 32).decode()
    for several in (f"{other} {fits}", f"{fits} {other}", f"v1a,xyz {fits}", f"v1,! {fits}"):
        STANDARD.prove(**{"webhook-signature": several})


def test_a_version_that_we_do_not_know_does_not_count():
    for version in ("v0", "v2"):
        with pytest.raises(Unproven):
            STRIPE.prove(**{"Stripe-Signature": f"t=1533204620,{stripe_signature(STRIPE.secret, version)}"})
    with pytest.raises(Unproven):
        STANDARD.prove(**{"webhook-signature": STANDARD.headers["webhook-signature"].replace("v1,", "v2,")})
    with pytest.raises(Unproven):
        SLACK.prove(**{"X-Slack-Signature": SLACK.headers["X-Slack-Signature"].replace("v0=", "v1=")})
    with pytest.raises(Unproven):
        GITHUB.prove(**{"X-Hub-Signature-256": GITHUB.headers["X-Hub-Signature-256"].replace("sha256", "sha1")})


def test_more_signatures_than_a_rotation_needs_are_not_looked_at():
    many = ",".join([stripe_signature("old")] * 20)
    with pytest.raises(Unproven, match="more than"):
        STRIPE.prove(**{"Stripe-Signature": f"t=1533204620,{many},{stripe_signature(STRIPE.secret)}"})


def test_the_id_of_a_standard_webhook_is_proven_with_it():
    assert STANDARD.prove().signed_id == "msg_p5jXN8AQM9LWM0D4loKWxJek"
    with pytest.raises(Unproven):
        STANDARD.prove(**{"webhook-id": "msg_other"})


@pytest.mark.parametrize("secret", ["whsec_", "whsec_!!", "", "whsec_é"])
def test_a_secret_that_is_none_proves_nothing(secret):
    with pytest.raises(Unproven, match="secret"):
        STANDARD.prove(secret=secret)


@pytest.mark.parametrize(("algorithm", "digest"), [("sha256", RFC_SHA256), ("sha512", RFC_SHA512), ("sha1", RFC_SHA1)])
@pytest.mark.parametrize("encoding", ["hex", "base64"])
def test_the_generic_scheme_is_put_together_of_algorithm_encoding_and_prefix(algorithm, digest, encoding):
    text = digest if encoding == "hex" else base64.b64encode(bytes.fromhex(digest)).decode()
    scheme = Generic("X-Sig", algorithm=algorithm, encoding=encoding, prefix="p:")
    assert scheme.prove(RFC_KEY, {"X-Sig": "p:" + text}, RFC_BODY, 0).signature.hex() == digest
    for wrong in (text, "q:" + text, "p:" + text[:-6], "p: " + text):
        with pytest.raises(Unproven):
            scheme.prove(RFC_KEY, {"X-Sig": wrong}, RFC_BODY, 0)


@given(st.text(), st.text(), st.binary())
def test_whatever_a_header_holds_it_is_unproven_and_never_an_error(text, time, body):
    for signed in ALL.values():
        sent = {signed.header: text or "x", **({signed.time: time or "x"} if signed.time else {}), "webhook-id": text}
        with pytest.raises(Unproven):
            signed.scheme.prove(signed.secret, CIMultiDict(sent), body, signed.now)


@given(st.binary())
def test_bytes_are_signed_as_they_are(body):
    signature = hmac.new(b"key", body, hashlib.sha256).hexdigest()
    assert GitHub().prove("key", {"X-Hub-Signature-256": f"sha256={signature}"}, body, 0).signature.hex() == signature


@pytest.mark.parametrize(
    ("given_text", "expected", "same"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("", "a", False),
        ("é", "é", True),
        ("\udcff", "a", False),
        ("aa", "a", False),
    ],
)
def test_texts_are_compared_whatever_they_hold(given_text, expected, same):
    assert signatures.same(given_text, expected) is same
