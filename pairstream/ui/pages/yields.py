"""What comes of runs: from runs to outcomes to pairs, by whom, and over time."""

from collections.abc import Sequence
from datetime import UTC, datetime

from pairstream.story_text import REASONS
from pairstream.ui.charts import Bin, column_chart
from pairstream.ui.index_tables import ALL, SUBJECTS
from pairstream.ui.site import Answer, Asked, NotFound, Page, Site
from schemas.errors import PairstreamError
from trainer.datasets import read_manifest

NAMES = 20
COLUMNS = 48
HOUR_SECONDS = 3600
SPANS = (1, 6, 24, 7 * 24, 30 * 24, 365 * 24)


def yields(site: Site, asked: Asked) -> Answer:
    subject = asked.query.get("by") or ALL
    if subject not in (ALL, *SUBJECTS):
        raise NotFound(f"runs are told apart by {', '.join(SUBJECTS)}, not by {subject}")
    name = asked.query.get("name", "") if subject != ALL else ""
    with site.index() as index:
        runs, pairs = index.sums(subject, name)
        kinds = index.kinds(subject, name)
        bins = columns(index.hours(subject, name))
        groups = {each: index.groups(each, limit=NAMES) for each in SUBJECTS}
    names = list(kinds)
    values = {
        "subject": subject,
        "name": name,
        "runs": runs,
        "paired": kinds.get("paired", 0),
        "pairs": pairs,
        "in_datasets": _in_datasets(site) if subject == ALL else None,
        "kinds": kinds,
        "reasons": REASONS,
        "groups": groups if subject == ALL else {},
        "bins": bins,
        "chart": column_chart("Runs by how they were settled", bins, names),
        "series": names,
    }
    return Page("yield.html", "Yield", values)


def _in_datasets(site: Site) -> int | None:
    """Pairs in all datasets; null where a manifest is damaged, which its own page says."""
    try:
        names = site.data.dataset_names()
        return sum(read_manifest(site.data.datasets / name).pairs for name in names)
    except PairstreamError:
        return None


def columns(hours: Sequence[tuple[int, str, int]]) -> list[Bin]:
    """Columns of the chart, of so many hours each that there are not too many. Pure."""
    if not hours:
        return []
    first, last = hours[0][0], hours[-1][0]
    span = next((each for each in SPANS if last // each - first // each < COLUMNS), SPANS[-1])
    start = first // span
    parts: list[dict[str, int]] = [{} for _ in range(last // span - start + 1)]
    for hour, kind, runs in hours:
        column = parts[hour // span - start]
        column[kind] = column.get(kind, 0) + runs
    shown = parts[-COLUMNS:]
    skipped = len(parts) - len(shown)
    return [
        Bin(_label((start + skipped + place) * span, span), part)
        for place, part in enumerate(shown)
    ]


def _label(hour: int, span: int) -> str:
    time = datetime.fromtimestamp(hour * HOUR_SECONDS, UTC)
    return time.strftime("%m-%d %H:%M" if span < 24 else "%Y-%m-%d")
