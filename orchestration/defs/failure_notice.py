"""Tells a command or a webhook that a run failed. The message is built from names and our own words only."""

from __future__ import annotations

import json
import shlex
import subprocess
import urllib.request

from orchestration.settings import Settings, child_environment

TIMEOUT_SECONDS = 20


def notify(settings: Settings, *, job: str, run_id: str, steps: list[str], message: str) -> bool:
    """Runs the command with the notice as JSON on its stdin, posts it to the webhook. False when one of them failed."""
    notice = json.dumps({"job": job, "run_id": run_id, "failed_steps": steps, "message": message}, ensure_ascii=False)
    good = True
    if settings.failure_command:
        good &= _run(settings.failure_command, notice)
    if settings.failure_webhook:
        good &= _post(settings.failure_webhook, notice)
    return good


def _run(command: str, notice: str) -> bool:
    try:
        done = subprocess.run(
            shlex.split(command),
            input=notice,
            text=True,
            env=child_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _post(url: str, notice: str) -> bool:
    if not url.startswith(("https://", "http://")):
        return False
    request = urllib.request.Request(url, notice.encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            return bool(200 <= answer.status < 300)
    except (OSError, ValueError):
        return False
