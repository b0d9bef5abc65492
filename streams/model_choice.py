"""Which model the settings name, checked before a worker takes anything."""

import importlib.util
from pathlib import Path
from urllib.parse import urlsplit

from schemas.errors import InvalidSettings
from schemas.settings import GarblingSettings
from streams.high_temperature import Model


def choose_model(settings: GarblingSettings) -> Model:
    """Raises: InvalidSettings that says what to do."""
    if settings.garbler_model is None:
        raise InvalidSettings(
            "garbler high_temperature needs a model: set PAIRSTREAM_GARBLER_MODEL to the folder of "
            "a transformers model, or PAIRSTREAM_GARBLER_URL to an endpoint and "
            "PAIRSTREAM_GARBLER_MODEL to the model's name there"
        )
    if settings.garbler_url is None:
        return _local(Path(settings.garbler_model), settings)
    return _endpoint(settings.garbler_url, settings.garbler_model, settings)


def _local(folder: Path, settings: GarblingSettings) -> Model:
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise InvalidSettings(
            f"PAIRSTREAM_GARBLER_MODEL: {folder} is no folder with a transformers model "
            "(config.json and *.safetensors); for a model behind an endpoint set "
            "PAIRSTREAM_GARBLER_URL too"
        )
    _require("transformers", "train", "a local model")
    _require("torch", "train", "a local model")
    from streams.garbler_process import ModelProcess

    return ModelProcess(
        folder,
        temperature=settings.garbler_temperature,
        timeout_seconds=settings.garbler_timeout_seconds,
    )


def _endpoint(url: str, model: str, settings: GarblingSettings) -> Model:
    if not _is_endpoint(url):
        raise InvalidSettings(
            "PAIRSTREAM_GARBLER_URL must be like https://host:port/v1, without a user in it: keys "
            "go into PAIRSTREAM_GARBLER_API_KEY"
        )
    _require("openai", "openai", "an endpoint")
    from streams.openai_garbler import OpenAIModel

    return OpenAIModel(url, model, _key(settings), settings)


def _is_endpoint(url: str) -> bool:
    try:
        parts = urlsplit(url)
        is_port = parts.port != 0
    except ValueError:
        return False
    is_http = parts.scheme in ("http", "https")
    return is_http and is_port and bool(parts.hostname) and "@" not in parts.netloc


def _require(package: str, extra: str, what: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise InvalidSettings(
            f"garbler high_temperature with {what} needs the package {package}: "
            f"pip install 'pairstream[{extra}]'"
        )


def _key(settings: GarblingSettings) -> str | None:
    key = settings.garbler_api_key
    if key is not None and not (key.isascii() and key.isprintable() and key and " " not in key):
        raise InvalidSettings(
            "the endpoint's key must be one word of printable ASCII: check "
            "PAIRSTREAM_GARBLER_API_KEY or PAIRSTREAM_GARBLER_API_KEY_FILE"
        )
    return key
