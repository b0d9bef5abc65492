"""`pairstream schema`."""

import click
import orjson

from pairstream.settings_loader import check_variables


@click.command("schema")
@click.option("--format", "format_", type=click.Choice(["jsonschema", "asyncapi"]),
              default="jsonschema", show_default=True, help="Which document.")  # fmt: skip
def command(format_: str) -> None:
    """Print the JSON Schemas of events and rows, or an AsyncAPI 3 document of the topics.

    \b
    Example:
      pairstream schema --format asyncapi > pairstream.asyncapi.json
    """
    from schemas.documents import asyncapi, json_schemas

    check_variables()
    document = json_schemas() if format_ == "jsonschema" else asyncapi()
    click.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
