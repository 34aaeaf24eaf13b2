"""The second reader of OneTrust's documents: what purposes grant, less what any of them refuses. Written from
OneTrust's API pages and not from the reader that it checks, of which it imports nothing."""

from __future__ import annotations

from typing import Any


def name(*keys: Any) -> str | None:
    said = {str(key) if is_id(key) else None for key in keys if key is not None}
    return said.pop() if len(said) == 1 else None


def is_id(key: Any) -> bool:
    if type(key) is int:
        return abs(key) < 2**63
    return type(key) is str and key == key.strip() and key.isprintable() and 0 < len(key) <= 1_024 and "*" not in key


def get(part: Any, *steps: str) -> Any:
    for step in steps:
        part = part.get(step) if isinstance(part, dict) else None
    return part


def ended(part: Any) -> bool:
    fields = get(part, "profileFields")
    keys = [f"{letter}ith{end}" for letter in "wW" for end in ("drawalDate", "drawnDate")]
    dates = [get(part, key) for key in (*keys, "reactivationDate", "ReactivationDate")]
    dates += [get(fields, key) for key in ("WithdrawalDate", "WithdrawnDate")]
    return any(date not in (None, "") or date is False for date in dates)


def plainly_granted(document: Any) -> set[str]:
    """The second reader, from OneTrust's API pages: what purposes grant less what any of them refuses."""
    if isinstance(document, list):
        return {code for one in document if isinstance(one, dict) for code in plainly_granted(one)}
    if not isinstance(document, dict):
        return set()
    page = document["content"] if isinstance(document.get("content"), list) else []
    others = {code for one in page if isinstance(one, dict) for code in plainly_granted({**one, "content": 0})}
    purposes: list[Any] = []
    for holder in (document, document.get("payload")):
        for key in ("profiles", "purposes"):
            purposes += get(holder, key) if isinstance(get(holder, key), list) else []
    if words_of(document):
        purposes.append(document)
    is_over = ended(document) or any(
        document.get(key) not in (None, False, "false") for key in ("test", "testDataSubject")
    )
    is_over = is_over or any(type(document.get(key)) is int for key in ("test", "testDataSubject"))
    yes: set[str] = set()
    no: set[str] = set()
    for purpose in purposes:
        words = words_of(purpose)
        is_held = bool(words) and not is_over and not ended(purpose)
        is_active = is_held and all(type(word) is str and word in ("ACTIVE", "CONFIRMED") for word in words)
        is_always = is_held and all(type(word) is str and word == "ALWAYS_ACTIVE" for word in words)
        key = name(*(get(purpose, step) for step in ("purposeId", "id", "Id", "guid")))
        if key is None:
            if not (is_active or is_always):
                return others
            continue
        (yes if is_active else no).add(key)
        (yes if is_always else no).add(f"always_active.{key}")
        chosen, unchosen = choices(purpose)
        yes |= {f"{key}.{choice}" for choice in chosen if is_active}
        no |= {f"{key}.{choice}" for choice in unchosen | (set() if is_active else chosen)}
    return others | (yes - no)


def words_of(purpose: Any) -> list[Any]:
    words = [get(purpose, key) for key in ("status", "Status", "transactionType", "TransactionType")]
    return [word for word in (*words, get(purpose, "profileFields", "TransactionStatus")) if word is not None]


def choices(purpose: Any) -> tuple[set[str], set[str]]:
    yes: set[str] = set()
    no: set[str] = set()
    of_any = False  # what is no yes, and names no topic
    for topic in lot(purpose, "topics"):
        if not is_id(get(topic, "topicGuid")) and get(topic, "value") is not True:
            is_bare = get(topic, "topicGuid") is None and get(topic, "value") is None
            of_any |= not (is_bare and is_id(get(topic, "id")))
        yes |= {str(get(topic, "id"))} if is_id(get(topic, "id")) else set()
        if is_id(get(topic, "topicGuid")):
            (yes if get(topic, "value") is True else no).add(str(get(topic, "topicGuid")))
    for topic in lot(purpose, "Preferences"):
        of_any |= not is_id(get(topic, "TopicId")) and get(topic, "TransactionType") != "OPT_IN"
        if is_id(get(topic, "TopicId")):
            (yes if get(topic, "TransactionType") == "OPT_IN" else no).add(str(get(topic, "TopicId")))
    yes, no = (set(), no | yes) if of_any else (yes, no)
    for preference in lot(purpose, "customPreferences") + lot(purpose, "CustomPreferences"):
        above = name(*(get(preference, step) for step in ("purposeId", "id", "Id", "guid")))
        for option in lot(preference, "options") + lot(preference, "Options"):
            keys = (
                [get(option, step) for step in ("purposeId", "id", "Id", "guid")]
                if isinstance(option, dict)
                else [option]
            )
            if above and name(*keys):
                yes.add(f"{above}.{name(*keys)}")
    return yes - no, no


def lot(part: Any, key: str) -> list[Any]:
    return get(part, key) if isinstance(get(part, key), list) else []
