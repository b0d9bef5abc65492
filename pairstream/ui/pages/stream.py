"""What flows now: rates, lags, open runs, dead letters."""

from pairstream.ui.charts import WIDE, Series, line_chart
from pairstream.ui.flow import lags, rates
from pairstream.ui.index_reader import IndexReader
from pairstream.ui.site import Answer, Asked, Page, Site
from pairstream.ui.watch import Sight
from schemas.topics import Names

REFRESH_SECONDS = 3
LETTERS = 10


def stream(site: Site, _: Asked) -> Answer:
    sight = site.watch.sight()
    with site.index() as index:
        values = {**_settled(index), **_now(sight, Names(site.settings.trainer.topic_prefix))}
    return Page("stream.html", "Stream", values, REFRESH_SECONDS)


def _settled(index: IndexReader) -> dict[str, object]:
    runs, _ = index.sums()
    counts = index.letter_counts()
    return {
        "runs": runs,
        "kinds": index.kinds(),
        "rules": index.rules(),
        "letter_counts": counts,
        "letters_total": sum(letters for _, _, letters in counts),
        "letters": index.letters(limit=LETTERS),
    }


def _now(sight: Sight, names: Names) -> dict[str, object]:
    by_name = rates(sight.flows, names)
    series = [Series(name, points) for name, points in by_name.items()]
    flow = sight.flows[-1] if sight.flows else None
    return {
        "overview": sight.overview,
        "cluster": sight.overview.cluster if sight.overview else None,
        "problem": sight.problem,
        "lags": lags(flow, names) if flow else [],
        "rates": {name: points[-1][1] for name, points in by_name.items() if points},
        "chart": line_chart("Records a second", series, x_name="seconds before now", width=WIDE),
        "series": [each.name for each in series],
    }
