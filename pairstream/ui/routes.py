"""Which page answers what."""

from pairstream.ui.pages import datasets, models, pairs, runs, stream, trainings, yields
from pairstream.ui.site import Handler

# Ids that agents choose stand in queries, never in paths.
ROUTES: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/", stream.stream),
    ("GET", "/yield", yields.yields),
    ("GET", "/runs", runs.runs),
    ("GET", "/run", runs.run),
    ("GET", "/run/text", runs.run_text),
    ("GET", "/pairs", pairs.pairs),
    ("GET", "/pair", pairs.pair),
    ("GET", "/pair/text", pairs.pair_text),
    ("GET", "/datasets", datasets.datasets),
    ("GET", "/datasets/difference", datasets.difference),
    ("GET", "/datasets/{name}", datasets.dataset),
    ("GET", "/trainings", trainings.trainings),
    ("GET", "/trainings/{name}", trainings.training),
    ("GET", "/trainings/{name}/log", trainings.training_log),
    ("GET", "/models", models.models),
    ("GET", "/models/{name}", models.model),
    ("GET", "/models/{name}/promote", models.ask_promote),
    ("POST", "/models/{name}/promote", models.promote),
    ("GET", "/models/{name}/rollback", models.ask_roll_back),
    ("POST", "/models/{name}/rollback", models.roll_back),
)
