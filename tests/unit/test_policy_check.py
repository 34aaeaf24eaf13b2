"""Cross-references of a policy: each broken one is an error at its line, with a remedy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from orchestration.policy.check_sources import unsafe_path
from orchestration.policy.loader import FILES, SHIPPED, Problem, read_policy
from tests.unit.test_policy import rewrite


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        shutil.copy(SHIPPED / f"{name}.yaml", tmp_path)
    return tmp_path


def problems_of(folder: Path) -> list[Problem]:
    return read_policy(folder)[2]


ABSENT_7 = "absent: {source: in_store, category: transaction, lookback_days: 7}"

# file, what the shipped policy says, what is written instead, file of the error, words of the error
BROKEN = [
    ("organisation", "zone: Asia/Shanghai", "zone: Asia/Shanhai", "organisation", "not a time zone"),
    ("organisation", "- {name: clinic, ", "- {name: shop, ", "organisation", "`shop` is given twice"),
    ("organisation", "- {code: DE,", "- {code: CN,", "organisation", "jurisdiction `CN` is given twice"),
    ("organisation", "name: cookie,  strength: weak,", "name: cookie,  strength: weak, anchor: true,",
     "organisation", "weak"),
    ("organisation", "contact: true, channels: [push]", "contact: true", "organisation", "no channel uses"),
    ("purposes", "identity_purpose: identity", "identity_purpose: identy", "purposes", "`identy` is no purpose"),
    ("purposes", "categories: [identification]", "categories: [behaviour]", "purposes", "cannot permit joining"),
    ("purposes", "controllers: [shop, clinic]", "controllers: [shop, spa]", "purposes", "`spa` is no controller"),
    ("purposes", "controllers: [shop, clinic]", "controllers: [shop, shop]", "purposes", "`shop` is given twice"),
    ("purposes", "  - name: mass_content", "  - name: service", "purposes", "`service` is given twice"),
    ("purposes", "contract_facts: [membership,", "contract_facts: [friendship,", "purposes", "`friendship`"),
    ("purposes", "contract_facts: [membership, prepaid_card, appointment]", "explicit: true",
     "purposes", "contract_facts"),
    ("purposes", "{PIPL: consent, GDPR", "{PIPL: opt_out, GDPR", "purposes", "opt-in regime"),
    ("purposes",
     "channels: [sms, wechat_oa, wechat_mp, wecom]", "channels: [sms, wechat_oa]\n    separate_consent_for: []",
     "purposes", "R-14"),
    ("notices", "purposes: [partner_sharing]", "purposes: [partner_sharing, gifts]", "notices", "`gifts`"),
    ("notices", "purposes: [partner_sharing]", "purposes: [identity]",
     "purposes", "no notice covers `partner_sharing`"),
    ("notices", "2026-03-01T00:00:00+08:00", "2026-03-01T00:00:00", "notices", "not an instant"),
    ("notices", "2026-03-01T00:00:00+08:00", "20260301", "notices", "not an instant"),
    ("notices", "2026-03-01T00:00:00+08:00", "2024-03-01T00:00:00+08:00", "notices", "no later than"),
    ("notices", "- version: \"2\"", "- version: \"1\"", "notices", "version `1` is given twice"),
    ("retention", "- {category: preference, days: 365}", "", "retention", "category preference is in use"),
    ("retention", "purpose: mass_content", "purpose: mass", "retention", "`mass` is no purpose"),
    ("retention", "purpose: mass_content, days: 30", "purpose: mass_content, days: 300", "retention", "only shorten"),
    ("retention", "purpose: mass_content", "purpose: identity", "retention", "does not use category behaviour"),
    ("retention", "legal_holds: []", "legal_holds: [till]", "retention", "`till` is no source"),
    ("retention", "deliveries: 1095", "deliveries: 29", "retention", "looks back 30 days"),
    ("retention", "vault: 14 ", "vault: 15 ", "retention", "last heard of"),
    ("sources", "    signal: tcf\n", "", "sources", "needs `signal:`"),
    ("sources", "    encoded: tc_string\n", "", "sources", "`encoded:` is where the string"),
    ("sources", "    signal: segment\n", "    signal: segment\n    encoded: x\n",
     "sources", "`encoded:` is where the string"),
    ("sources", "    path: consent/events-{day}.jsonl\n", "    path: consent/events-{day}.jsonl\n    signal: tcf\n",
     "sources", "`signal:` belongs to format signal"),
    ("sources", "    signal: tcf\n", "    signal: tcf\n    table: crm.consents\n",
     "sources", "`table:` belongs to format table"),
    ("sources", "{needs: [vendor.4242.purpose.3, vendor.4242.purpose.4]", "{needs: [purpose.3, purpose.4]",
     "sources", "`purpose.3` alone is nobody's consent"),
    ("sources", "{needs: [adviser], set: {type: permission, channel: wecom, fact: \"adv:{adviser}\"}}",
     "{needs: [adviser], set: {type: permission, channel: wecom, fact: \"adv:*\"}}",
     "sources", "what a permission can be about"),
    ("sources", "{needs: [\"template.*\"]", "{needs: [\"template.*\", follow]", "sources", "the end of the only code"),
    ("sources", "{needs: [request.access], set: {type: request, fact: access}}",
     "{needs: [request.access], set: {type: request, fact: everything}}", "sources", "`everything`"),
    ("sources", "{needs: [request.access], set: {type: request, fact: access}}",
     "{needs: [request.access], set: {type: contract, fact: access}}", "sources", "no record of type contract"),
    ("sources", "{needs: [sale], set: {purpose: partner_sharing}", "{needs: [sale], set: {purpose: gifts}",
     "sources", "`gifts`"),
    ("sources", "{needs: [sale], set: {purpose: partner_sharing}", "{needs: [sale], set: {category: behaviour}",
     "sources", "a consent needs `purpose:`"),
    ("sources", "{needs: [sale], set: {purpose: partner_sharing}",
     "{needs: [sale], set: {purpose: partner_sharing, decision: grant}", "sources", "not for a rule to say"),
    ("sources", "{value: external_userid, kind: external_userid,", "{value: external_userid, kind: customer,",
     "sources", "`customer`"),
    ("sources", "  - name: web\n", "  - name: links\n", "sources", "a name that Assent uses"),
    ("sources", "controller: shop", "controller: shopp", "sources", "`shopp` is no controller"),
    ("sources", "event: event", "event: evnt", "sources", "`evnt` is no field of web"),
    ("sources", "event_id: message_id", "event_id: id", "sources", "`id` is no field of web"),
    ("sources", "kind: cookie", "kind: cookies", "sources", "`cookies` is no identifier kind"),
    ("sources", "field: cookie_id, kind", "field: cookie, kind", "sources", "`cookie` is no field of web"),
    ("sources", "{raw: product_viewed,", "{raw: page_viewed,", "sources", "event `page_viewed` is given twice"),
    ("sources", "channel: push, field: push_token, state: open", "channel: sms, field: push_token, state: open",
     "sources", "no contact point on channel sms"),
    ("sources", "{raw: push_on, channel", "{raw: push_onn, channel", "sources", "`push_onn` is no event"),
    ("sources", "zone: Asia/Shanghai}", "zone: Asia/Nowhere}", "sources", "not a time zone"),
    ("sources", ", zone: Asia/Shanghai}", "}", "sources", "no offset"),
    ("sources", "format: epoch_ms", "format: epoch", "sources", "not a time format"),
    ("sources", "path: web/tag-{day}.jsonl.gz", "path: ../tag-{day}.jsonl.gz", "sources", "leaves the landing"),
    ("sources", "path: app/events-{day}.jsonl", "path: consent/events-{day}.jsonl", "sources", "same files"),
    ("sources", "day_format: \"%Y%m%d\"", "day_format: \"%Y%m\"", "sources", "one day from another"),
    ("sources", "marker: .done", "marker: done", "sources", "not a suffix"),
    ("sources", "marker: .done", "marker: .gz", "sources", "end so"),
    ("sources", "format: jsonl\n        compression: gzip", "format: parquet\n        compression: gzip", "sources",
     "has its own compression"),
    ("sources", "format: csv\n        encoding: gb18030", "format: parquet\n        encoding: gb18030", "sources",
     "has its own encoding"),
    ("sources", "marker: .done", "", "sources", "there is none to state anything"),
    ("sources", "marker_states: [sha256]", "marker_states: [size]", "sources", "'rows' or 'sha256'"),
    ("sources", "marker_states: [sha256]", "marker_states: [sha256, sha256]", "sources", "is given twice"),
    ("sources", "marker_states: [sha256]", "final_newline: optional", "sources", "that the last line was cut"),
    ("sources", "path: wechat/oa-{day}.xml", "path: wechat/oa-{day}.xml\n        marker: .d\n        "
     "marker_states: [rows]\n        final_newline: optional", "sources", "xml has no lines"),
    ("sources", "format: xml", "final_newline: optional\n        url_env: A\n        table: a\n        format: table",
     "sources", "a table has no `final_newline:`"),
    ("sources", "path: app/events-{day}.jsonl", "encoding: utf-8", "sources", "needs `path:`"),
    ("sources", "path: app/events-{day}.jsonl", "url_env: APP_URL\n        path: app/e-{day}.jsonl",
     "sources", "belongs to format table"),
    ("sources", "      - name: events\n        format: jsonl", "      - name: events\n        format: table",
     "sources", "needs `url_env:`"),
    ("sources", "path: app/events-{day}.jsonl", "path: app/e-{day}.jsonl\n        footer_rows: 1",
     "sources", "only CSV"),
    ("sources", "          topic: params.topic\n", "", "sources", "no feed delivers `topic`"),
    ("sources", "          topic: params.topic\n", "          subject: params.topic\n",
     "sources", "`subject` is no field"),
    ("sources", "          sent_at: timestamp\n", "", "sources", "does not deliver `sent_at`"),
    ("sources", "constants: {account: wx", "constants: {openid: x, item: y, account: wx",
     "sources", "a column and a constant"),
    ("sources", "(M[0-9]{6,12})$", "M[0-9]{6,12}$", "sources", "capture one part"),
    ("sources", "pattern: \"[0-9]{10,14}\"", "pattern: \"(?=1)[0-9]+\"", "sources", "RE2"),
    ("sources", "[device.model, device.os]", "[device.model, device.id]", "sources", "read and ignored"),
    ("sources", "{name: page, max_length: 512}", "{name: page, max_length: 512, minimum: 1}", "sources", "no number"),
    ("sources", "minimum: 0, maximum: 1000000", "minimum: 10, maximum: 1", "sources", "above the maximum"),
    ("sources", "{action: encrypt, keep_days: 7}", "{action: encrypt}", "sources", "keep_days"),
    ("sources", "link_method: login", "link_method: login\n    late: wait", "", ""),
    ("sources", "link_method: platform", "link_method: platform\n    late: wait", "sources", "completion marker"),
    ("sources", "controllers: [shop, clinic]", "controllers: [shop, spa]", "sources", "`spa` is no controller"),
    ("sources", "provenance: our own app", "provenance: postgresql://u:secret@db/x",
     "sources", "a URL with a password"),
    ("minimisation", "      - {field: page, category: behaviour, verb: drop}\n", "",
     "minimisation", "`web.page` has no rule"),
    ("minimisation", "{field: page, category", "{field: pages, category", "minimisation", "`pages` is no field"),
    ("minimisation", "{field: page, category", "{field: ip, category", "minimisation", "field `ip` is given twice"),
    ("minimisation", "  - source: web", "  - source: webb", "minimisation", "`webb` is no source"),
    ("minimisation",
     "cookie_id, category: identification, verb: token", "cookie_id, category: identification, verb: drop",
     "minimisation", "only its token"),
    ("minimisation", "      - {field: item, category: behaviour, verb: keep}\n      - {field: page",
     "      - {field: item, category: behaviour, verb: drop}\n      - {field: page",
     "minimisation", "nothing of web would be sensitive"),
    ("minimisation", "kind, category: behaviour, verb: drop", "kind, category: behaviour, verb: keep",
     "minimisation", "`wechat.kind` is stored, but no model reads it"),
    ("minimisation", "page, category: behaviour, verb: drop", "page, category: behaviour, verb: token",
     "minimisation", "`web.page` is stored, but no model reads it"),
    ("purposes", "shows: [birth_month, touches]", "shows: [birth_month, touches, store]",
     "purposes", "no segment of purpose `personalisation` shows `store`"),
    ("segments", "birth_month, type: bigint, category: preference", "birth_month, type: bigint, category: sensitive",
     "segments", "may not use category sensitive"),
    ("segments", "destinations: [front_desk]", "destinations: []", "destinations", "no segment is delivered to"),
    ("minimisation", "ip, category: identification, verb: drop", "ip, category: identification, verb: keep",
     "minimisation", "identifies someone"),
    ("minimisation", "sent_at, category: behaviour, verb: keep", "sent_at, category: behaviour, verb: truncate_day",
     "minimisation", "what happened or when"),
    ("minimisation", "amount, category: transaction, verb: keep", "amount, category: transaction, verb: truncate_day",
     "minimisation", "no date"),
    ("minimisation", "bucket: month_of_year", "bucket: hundreds", "minimisation", "does not fit the type"),
    ("minimisation", "\"med-*\"", "\"m*d\"", "minimisation", "at the end only"),
    ("segments", "- name: second_purchase", "- name: coverage", "segments", "name of another model"),
    ("segments", "- name: second_purchase", "- name: new_segment", "segments", "no SQL model"),
    ("segments", "model: dormant", "model: dormantt", "segments", "no SQL model"),
    ("segments", "- name: follow_up", "- name: clinic_follow_up", "segments", "would tell what"),
    ("segments", "en: Due for a follow-up visit", "en: Due at the clinic", "segments", "would tell what"),
    ("segments", "zh-CN: 到期复诊", "zh-CN: 到期复诊med-01", "segments", "would tell what"),
    ("segments", "visit lies in the recall window", "med treatment is long ago", "segments", "would tell what"),
    ("segments", "purpose: sms_marketing", "purpose: sms", "segments", "`sms` is no purpose"),
    ("segments", "controller: clinic", "controller: shop", "segments", "controller of purpose follow_up"),
    ("sources", "  - name: consent_center", "  - name: desk", "sources", "what staff record by hand"),
    ("segments", "channels: [call]", "channels: [push]",
     "segments", "`push` is no channel of purpose follow_up"),
    ("segments", "channels: [call]", "channels: [sms]", "segments", "`front_desk` delivers on call"),
    ("segments", "destinations: [push_service]", "destinations: [pushservice]", "segments", "`pushservice`"),
    ("segments", "destinations: [email_service, overseas_crm]", "destinations: [email_service, partner_ads]",
     "segments", "goes to partner_ads"),
    ("segments", "name: birth_month, type", "name: birthday, type", "segments", "may not show `birthday`"),
    ("segments", "name: birth_month, type", "name: audience_key, type", "segments", "every segment has"),
    ("segments", ABSENT_7, ABSENT_7.replace("in_store", "till"), "segments", "`till` is no source"),
    ("segments", ABSENT_7, ABSENT_7.replace("in_store", "app"), "segments", "no completion marker"),
    ("segments", ABSENT_7, ABSENT_7.replace("transaction", "preference"), "segments", "may not look at"),
    ("segments", ABSENT_7, ABSENT_7.replace("7}", "800}"), "segments", "kept for 730 days"),
    ("segments", ABSENT_7, "excludes: [nobody]", "segments", "`nobody` is no segment"),
    ("segments", ABSENT_7, "excludes: [follow_up]", "segments", "another controller"),
    ("segments", ABSENT_7, "excludes: [consulted_not_bought_7]", "segments", "in a circle"),
    ("segments", ABSENT_7, "excludes: [light_members]", "segments", "by exclusion or stage"),
    ("segments", ABSENT_7, "excludes: [full_members]", "segments", "by exclusion or stage"),
    ("segments", ABSENT_7, "stages: [loyal]", "segments", "`loyal` is no stage"),
    ("segments", "stages: [advocate]", "stages: [anonymous]", "segments", "nobody may contact"),
    ("minimisation", "stage: light", "stage: anonymous", "minimisation", "`anonymous` is no stage"),
    ("minimisation", "phone, category: identification, verb: token", "phone, category: identification, verb: token, "
     "stage: light", "minimisation", "says who, what or when"),
    ("purposes", "name: anonymous, label", "name: anonymous, purpose: registration, label", "purposes", "first stage"),
    ("purposes", "purpose: registration, label", "label", "purposes", "every later one does"),
    ("purposes", "purpose: registration, label", "purpose: registering, label", "purposes", "`registering` is no"),
    ("purposes", "    max_consent_age_days: 180", "    category_since: {preference: 2026-03-01T00:00:00+08:00}",
     "purposes", "`preference` is no category of mass_content"),
    ("purposes", "    max_consent_age_days: 180", "    category_since: {behaviour: 2026-03-01T00:00:00}",
     "purposes", "not an instant"),
    ("notices", "version: \"1\"", "version: \"1\"\n        purposes: [partner_sharing]", "notices",
     "`partner_sharing` is no purpose of notice privacy"),
    ("destinations", "kind: push\n", "kind: pager\n", "destinations", "is no identifier kind"),
    ("destinations", "channel: push", "channel: sms", "destinations", "no contact point on channel sms"),
    ("destinations", "kind: openid", "kind: member", "destinations", "no contact"),
    ("destinations", "issuer: wx-oa-shop", "issuer: wx-oa-shopp", "destinations", "no source has kind openid"),
    ("destinations", "columns: [contact, segment]", "columns: [segment]", "destinations", "whom a row is about"),
    ("destinations", "    role: controller", "    role: processor", "destinations", "contradict"),
    ("destinations", "    needs_permission: true", "    contact_form: national",
     "destinations", "does not fit a openid"),
    ("destinations", "- name: email_service", "- name: sms_gateway", "destinations", "`sms_gateway` is given twice"),
    ("destinations", "country: NL", "country: NL\n    transfer: {mechanism: adequacy, purpose: abroad}",
     "destinations", "`abroad` is no purpose"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "old", "new", "where", "what"), BROKEN)
def test_broken_reference_is_an_error(folder: Path, file: str, old: str, new: str, where: str, what: str) -> None:
    rewrite(folder, file, old, new)
    problems = problems_of(folder)
    if not what:
        assert problems == []
        return
    matching = [problem for problem in problems if problem.file == f"{where}.yaml" and what in problem.what]
    assert matching, [str(problem) for problem in problems]
    assert all(problem.remedy and problem.line >= 1 for problem in problems)


def test_problem_names_the_line_of_the_reference(folder: Path) -> None:
    line = rewrite(folder, "segments", "destinations: [push_service]", "destinations: [pushservice]")
    assert [(p.file, p.line) for p in problems_of(folder)] == [("segments.yaml", line)]


def test_circle_of_exclusions_names_both_ends(folder: Path) -> None:
    rewrite(folder, "segments", ABSENT_7, "excludes: [consulted_not_bought_30]")
    absent_30 = ABSENT_7.replace("7}", "30}")
    rewrite(folder, "segments", absent_30, "excludes: [consulted_not_bought_7]")
    assert sum("in a circle" in problem.what for problem in problems_of(folder)) == 2


def test_64_scopes_are_refused(folder: Path) -> None:
    controllers = ", ".join(f"c{number}" for number in range(20))
    lines = "".join(f"\n  - {{name: c{number}, country: CN, label: {{zh-CN: 甲, en: A}}}}" for number in range(20))
    rewrite(folder, "organisation", "controllers:", f"controllers:{lines}")
    rewrite(folder, "purposes", "controllers: [shop, clinic]", f"controllers: [shop, clinic, {controllers}]")
    assert problems_of(folder) == []
    rewrite(folder, "purposes", "controllers: [shop, clinic]", f"controllers: [shop, clinic, {controllers}]")
    assert any("at most 63" in problem.what for problem in problems_of(folder))


def test_password_is_not_repeated_in_the_error(folder: Path) -> None:
    rewrite(folder, "sources", "provenance: our own app", "provenance: postgresql://u:hunter2@db/x")
    assert "hunter2" not in "".join(map(str, problems_of(folder)))


def test_company_models_count(folder: Path) -> None:
    rewrite(folder, "segments", "- name: second_purchase", "- name: new_segment")
    path = folder / "models" / "marts" / "marketing" / "new_segment.sql"
    path.parent.mkdir(parents=True)
    path.write_text("select 1", "utf-8")
    assert problems_of(folder) == []


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../x", "a/../../x", "http://x/y", "s3://b/k", "file:x", "C:/x", "~/x", "a\\b", "a//b", "./a", "",
     "a/*.csv", "a/{day}/{day}", "a/{source}", "a\x00b"],
)  # fmt: skip
def test_path_outside_landing_is_unsafe(path: str) -> None:
    assert unsafe_path(path) is not None


def test_relative_path_with_a_day_is_safe() -> None:
    assert unsafe_path("web/tag-{day}.jsonl.gz") is None
