"""Files in landing that are refused, each for a reason of its own, and one that is not but for a row of it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from tests.markers import mark

HEADER = "小票行号,类型,时间,会员码,手机号,姓名,生日,项目,金额,门店,城市,等级"
LINE = "{id},销售,2026/11/20 10:00:00,M900999,,,,sku-001,10,store-xuhui,上海,gold"
VISIT = {"messageId": "bad-1", "event": "page_viewed", "timestamp": "2026-11-20T01:00:00Z", "anonymousId": "ck-bad"}
OPEN = {"id": "big-1", "name": "app_open", "ts": 1795140000000, "device": {"id": "dv-big"}}

REFUSED = {  # file (under landing) → why it is refused
    "web/tag-2026-08-01.jsonl.gz": "truncated",
    "web/tag-2026-08-02.jsonl.gz": "corrupt",
    "in_store/till-20260801.csv": "ragged",
    "in_store/till-20260802.csv": "wrong_encoding",
    "in_store/till-20260803.csv": "missing_column",
    "app/events-2026-08-01.jsonl": "empty",
}


def plant_bad_files(landing: Path) -> None:
    packed = gzip.compress("".join(json.dumps(VISIT) + "\n" for _ in range(500)).encode(), mtime=0)
    footer = "\n合计,,,,,,,,10,,,\n"
    tills = {
        "in_store/till-20260801.csv": (HEADER + "\n" + LINE.format(id="r1") + ",more,cells" + footer).encode("gb18030"),
        "in_store/till-20260802.csv": (HEADER + "\n" + LINE.format(id="r2") + footer).encode("gb18030") + b"\xff\xff\n",
        "in_store/till-20260803.csv": (HEADER.replace("姓名", "身份证") + "\n" + LINE.format(id="r3") + footer).encode(
            "gb18030"
        ),
    }
    files = {
        "web/tag-2026-08-01.jsonl.gz": packed[:-20],
        "web/tag-2026-08-02.jsonl.gz": packed[:-8] + bytes(4) + packed[-4:],
        "app/events-2026-08-01.jsonl": b"",
        "app/events-2026-08-02.jsonl": (
            json.dumps(OPEN) + "\n" + json.dumps({**OPEN, "id": "x" * 3_000_000}) + "\n"
        ).encode(),
        **tills,
    }
    for name, content in files.items():
        (landing / name).write_bytes(content)
        mark(landing / name, ".done" if name.startswith("web") else ".ok")
