"""Calls of webhooks as providers make them: signed, and with the headers that theirs have."""

from __future__ import annotations

import hashlib
import hmac
import time


def signed(secret: str, body: bytes, algorithm: str = "sha256") -> str:
    return hmac.new(secret.encode(), body, algorithm).hexdigest()


def github(secret: str, body: bytes, delivery: str | None = None) -> dict[str, str]:
    headers = {"X-Hub-Signature-256": f"sha256={signed(secret, body)}", "Content-Type": "application/json"}
    return headers | ({"X-GitHub-Delivery": delivery} if delivery else {})


def stripe(secret: str, body: bytes, at: float | None = None) -> dict[str, str]:
    seconds = int(at or time.time())
    digest = signed(secret, f"{seconds}.".encode() + body)
    return {"Stripe-Signature": f"t={seconds},v1={digest}", "Content-Type": "application/json"}


def slack(secret: str, body: bytes, at: float | None = None) -> dict[str, str]:
    seconds = int(at or time.time())
    digest = hmac.new(secret.encode(), f"v0:{seconds}:".encode() + body, hashlib.sha256).hexdigest()
    return {
        "X-Slack-Request-Timestamp": str(seconds),
        "X-Slack-Signature": f"v0={digest}",
        "Content-Type": "application/x-www-form-urlencoded",
    }
