"""What comes of runs: from runs to outcomes to pairs, by whom, and over time."""

from collections.abc import Sequence

from pairstream.story_text import REASONS
from pairstream.terminal import moment
from pairstream.ui.charts import Bin, column_chart
from pairstream.ui.index_tables import ALL, SUBJECTS
from pairstream.ui.index_writer import HOUR_MS
from pairstream.ui.site import Answer, Asked, NotFound, Page, Site
from schemas.errors import PairstreamError
from trainer.datasets import read_manifest

NAMES = 20
COLUMNS = 48
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
    """Columns of the chart, of so many hours each that there are not too many; of more, which the
    hours of strangers may ask for, the newest. Pure.
    """
    if not hours:
        return []
    first, last = hours[0][0], hours[-1][0]
    span = next((each for each in SPANS if last // each - first // each < COLUMNS), SPANS[-1])
    start = max(first // span, last // span - COLUMNS + 1)
    parts: list[dict[str, int]] = [{} for _ in range(last // span - start + 1)]
    for hour, kind, runs in hours:
        if hour // span >= start:
            column = parts[hour // span - start]
            column[kind] = column.get(kind, 0) + runs
    return [Bin(_label((start + place) * span, span), part) for place, part in enumerate(parts)]


def _label(hour: int, span: int) -> str:
    return moment(hour * HOUR_MS).strftime("%m-%d %H:%M" if span < 24 else "%Y-%m-%d")
