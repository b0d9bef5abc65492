"""Every setting, with its default, bounds and meaning; `pairstream` reads them, this only says.

The environment form is `PAIRSTREAM_` and the name in upper case; files and flags use dashes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from schemas import recipe

ENVIRONMENT_PREFIX = "PAIRSTREAM_"

# What a run of 50,000 small attempts takes; real ones are a hundredth of it.
RUN_MAX_BYTES = 64 * 2**20

# A size in bytes, or with `k`, `m` or `g` behind it; or that nothing is to be asked.
ROOM_OFF = "off"
Room = Meta(pattern=rf"^({ROOM_OFF}|[0-9]{{1,6}}[kmgKMG]?)\Z")

# From a time of the day to another one, which may be that of the next day.
QUIET_HOURS = r"^([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]\Z"

# Ten years at most: what is longer is a slip, and infinity would not do.
Positive = Meta(gt=0, le=10 * 365 * 86400)


HttpHost = Annotated[
    str,
    Meta(
        min_length=1,
        description="Where /livez, /readyz and /metrics are served; they have no password.",
    ),
]
HttpPort = Annotated[
    Annotated[int, Meta(ge=1, le=65535)] | None,
    Meta(description="The port of these; none: they are not served."),
]


class KafkaSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to reach the cluster; SASL and TLS by librdkafka's names.

    Its text, which may come into a traceback, shows no secret.
    """

    def __repr__(self) -> str:
        shown = (
            f"{name}={'***' if name in SECRETS and value is not None else repr(value)}"
            for name, value in msgspec.structs.asdict(self).items()
        )
        return f"{type(self).__name__}({', '.join(shown)})"

    bootstrap_servers: Annotated[str, Meta(min_length=1, description="The cluster.")] = (
        "127.0.0.1:9092"
    )
    topic_prefix: Annotated[
        str,
        Meta(
            pattern=r"^[a-zA-Z0-9._-]{0,100}\Z",
            description="Put before every topic, group and application id.",
        ),
    ] = ""
    security_protocol: Annotated[
        Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"],
        Meta(description="How to talk to the brokers."),
    ] = "PLAINTEXT"
    sasl_mechanism: Annotated[
        Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None,
        Meta(description="How to prove who we are."),
    ] = None
    sasl_username: Annotated[str | None, Meta(description="Who we are.")] = None
    sasl_password: Annotated[
        str | None, Meta(description="Its password; by the environment or a file, never a flag.")
    ] = None
    sasl_oauthbearer_token_endpoint_url: Annotated[
        Annotated[str, Meta(pattern=r"^https?://[^\s@]+\Z")] | None,
        Meta(description="For OAUTHBEARER: where to get tokens, by client credentials (OIDC)."),
    ] = None
    sasl_oauthbearer_client_id: Annotated[
        str | None, Meta(description="Who we are to the token endpoint.")
    ] = None
    sasl_oauthbearer_client_secret: Annotated[
        str | None, Meta(description="Its secret; by the environment or a file, never a flag.")
    ] = None
    sasl_oauthbearer_scope: Annotated[
        str | None, Meta(description="The scope to ask for, where the endpoint wants one.")
    ] = None
    https_ca_location: Annotated[
        str | None,
        Meta(
            description="CA certificates (PEM) that the token endpoint's comes from; none: the "
            "system's."
        ),
    ] = None
    ssl_ca_location: Annotated[
        str | None, Meta(description="CA certificates (PEM) that the brokers' ones come from.")
    ] = None
    ssl_certificate_location: Annotated[
        str | None, Meta(description="Our certificate (PEM), where the brokers want one.")
    ] = None
    ssl_key_location: Annotated[str | None, Meta(description="Its private key (PEM).")] = None
    ssl_key_password: Annotated[
        str | None, Meta(description="The key's password; never a flag.")
    ] = None


class TopicSettings(KafkaSettings, frozen=True, kw_only=True):
    """What `topics apply` creates."""

    partitions: Annotated[
        int,
        Meta(ge=1, le=10_000, description="Partitions of each topic; fixed for its life."),
    ] = 4
    replication_factor: Annotated[
        int, Meta(ge=1, le=100, description="Copies of each partition; 3 in production.")
    ] = 1


class PairingSettings(KafkaSettings, frozen=True, kw_only=True):
    """What decides which rows a run gives; a replay must use the same values."""

    pairing_extended: Annotated[
        bool,
        Meta(description="Also pair strategies, and first-time strategies in mixed runs."),
    ] = False
    garbler: Annotated[
        Literal["corrupt", "high_temperature"],
        Meta(description="What spoils a response where nothing was rejected."),
    ] = "corrupt"
    run_max_bytes: Annotated[
        int,
        Meta(
            ge=1024,
            description="Size of a run's events (with 1 KiB for each), and of its rows, beyond "
            "which it is discarded as too_large.",
        ),
    ] = RUN_MAX_BYTES
    settled_run_memory_seconds: Annotated[
        float,
        Positive,
        Meta(description="How long a settled run is remembered, to refuse what arrives late."),
    ] = 14 * 86400.0
    redact: Annotated[
        Literal["off", "secrets", "secrets,personal"],
        Meta(description="What to take out of texts before rows are made of them."),
    ] = "off"
    redact_command: Annotated[
        str,
        Meta(
            description="A redaction of yours: a program that answers each line, a JSON list of "
            "texts, with the list of what they become."
        ),
    ] = ""


class GarblingSettings(PairingSettings, frozen=True, kw_only=True):
    """How the garbler `high_temperature` reaches its model."""

    garbler_model: Annotated[
        str | None,
        Meta(
            description="For high_temperature: a folder with a transformers model, or, with an "
            "endpoint, its name there."
        ),
    ] = None
    garbler_url: Annotated[
        str | None,
        Meta(description="An endpoint that answers as OpenAI's: http://127.0.0.1:8000/v1."),
    ] = None
    garbler_api_key: Annotated[
        str | None,
        Meta(description="The endpoint's key; by the environment or a file, never a flag."),
    ] = None
    garbler_temperature: Annotated[
        float,
        Meta(gt=0, le=100, description="2 is broken text, 1.5 half broken, 3 and more noise."),
    ] = 2.0
    garbler_timeout_seconds: Annotated[
        float,
        Positive,
        Meta(description="Time for one text, retries included; then corrupt stands in."),
    ] = 60.0
    garbler_concurrency: Annotated[
        int, Meta(ge=1, le=256, description="Requests to the endpoint at once.")
    ] = 4
    garbler_retries: Annotated[
        int,
        Meta(ge=0, le=10, description="Further tries of a request that the endpoint failed."),
    ] = 2
    garbler_budget_tokens: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(
            description="Tokens, of prompts and texts, that a worker asks of an endpoint in its "
            "life; none: no limit."
        ),
    ] = None


class WorkerSettings(GarblingSettings, frozen=True, kw_only=True):
    """The Faust app."""

    run_timeout_seconds: Annotated[
        float, Positive, Meta(description="Silence after which a run is settled as it stands.")
    ] = 3600.0
    open_runs_max_bytes: Annotated[
        int,
        Meta(
            ge=1024,
            description="Size of a worker's open runs, counted alike, beyond which the longest "
            "silent ones are settled before their timeout.",
        ),
    ] = 2 * 2**30
    dead_letters_per_minute: Annotated[
        int,
        Meta(ge=1, description="Dead letters within a minute beyond which a worker stops."),
    ] = 20_000
    session_timeout_seconds: Annotated[
        float,
        Meta(ge=1, le=1800, description="Silence after which the group gives a worker up."),
    ] = 15.0
    group_instance_id: Annotated[
        Annotated[str, Meta(pattern=r"^[a-zA-Z0-9._-]{1,200}\Z")] | None,
        Meta(
            description="A name of this worker alone that outlives it: started again within its "
            "session it has its partitions at once, and none moves.",
        ),
    ] = None
    batch_records: Annotated[
        int, Meta(ge=1, le=100_000, description="Records that are folded as one batch at most.")
    ] = 2000
    batches_in_flight: Annotated[
        int, Meta(ge=1, le=64, description="Batches whose rows may be unacknowledged at once.")
    ] = 16
    http_host: HttpHost = "127.0.0.1"
    http_port: HttpPort = None


class DataSettings(KafkaSettings, frozen=True, kw_only=True):
    """Where the data directory is."""

    data_dir: Annotated[
        Path, Meta(description="Where datasets, models and the trainer's position are kept.")
    ] = Path("pairstream-data")


class DatasetSettings(DataSettings, frozen=True, kw_only=True):
    """What decides the bytes of a dataset; `trainer.selection.CutSettings` has the same fields."""

    eval_fraction: Annotated[
        float,
        Meta(ge=0, lt=1, description="Share of the runs that is held out, by a hash of run_id."),
    ] = 0.1
    held_out_by: Annotated[
        Literal["run", "task"],
        Meta(description="Hold out runs, or tasks by their task_id (runs without one by theirs)."),
    ] = "run"
    duplicates: Annotated[
        Literal["keep", "exact", "near"],
        Meta(description="Leave out pairs whose texts are those of another one, or nearly so."),
    ] = "keep"
    min_score_gap: Annotated[
        float,
        Meta(
            ge=0,
            le=1e300,
            description="Leave out pairs whose two scores lie closer together; 0: none.",
        ),
    ] = 0.0
    max_policy_age: Annotated[
        Annotated[int, Meta(ge=0)] | None,
        Meta(
            description="Leave out pairs of our own models that were trained on a dataset more "
            "than so many before that of the newest; none: of any age."
        ),
    ] = None
    max_garbled_share: Annotated[
        float,
        Meta(ge=0, le=1, description="Share of garbled pairs at most; the others wait. 1: all."),
    ] = 1.0
    max_agent_share: Annotated[
        float,
        Meta(gt=0, le=1, description="Share of one agent at most; its others wait. 1: all."),
    ] = 1.0
    max_task_share: Annotated[
        float,
        Meta(gt=0, le=1, description="Share of one task at most; its others wait. 1: all."),
    ] = 1.0


class RecipeSettings(DatasetSettings, frozen=True, kw_only=True):
    """How to train: each is passed on to the script."""

    training_loss_types: recipe.Losses = "sigmoid,sft"
    training_loss_weights: recipe.Weights = "1,0.2"
    training_beta: recipe.Beta = 0.3
    training_learning_rate: recipe.Rate = 5e-5
    training_epochs: recipe.Epochs = 1.0
    training_max_steps: recipe.Steps = -1
    training_batch_size: recipe.Batch = 1
    training_gradient_accumulation: recipe.Accumulation = 8
    training_group_by_length: recipe.Grouping = True
    training_max_length: recipe.Length = 2048
    training_max_lost_share: recipe.LostShare = 0.5
    training_seed: recipe.Seed = 0
    training_lora_rank: recipe.Rank = 16
    training_lora_alpha: recipe.Alpha = 32
    training_quantization: recipe.Quantization = "nf4"
    training_reference: recipe.Reference = "adapter"
    training_precompute_reference: recipe.Precompute = "auto"
    training_early_stop: recipe.Saturation = 5
    training_report_to: recipe.Report = "none"


class TrainingSettings(RecipeSettings, frozen=True, kw_only=True):
    """One training: what is trained, where, and within which limits."""

    launcher: Annotated[
        Literal["docker", "process", "kubernetes", "none"],
        Meta(
            description="Train in a container, in a process of a virtual environment, in a Job of "
            "a cluster, or only cut."
        ),
    ] = "docker"
    base_model: Annotated[
        str | None,
        Meta(description="A folder with a transformers model, or a hub name."),
    ] = None
    training_device: Annotated[
        Literal["auto", "cpu", "cuda"],
        Meta(description="Where to train; auto takes the GPU when there is one."),
    ] = "auto"
    training_python: Annotated[
        str | None,
        Meta(
            description="An interpreter that has the training's requirements, for the launcher "
            "`process`; none: one is made in the data directory."
        ),
    ] = None
    training_next_round: recipe.NextRound = "fresh"
    training_args: Annotated[
        str,
        Meta(description="Further flags of the training script, as typed; they win over settings."),
    ] = ""
    training_deadline_seconds: Annotated[
        float, Positive, Meta(description="A training that takes longer is stopped and failed.")
    ] = 24 * 3600.0
    training_memory: Annotated[
        Annotated[str, Meta(pattern=r"^[0-9]+[kmgKMG]?$")] | None,
        Meta(description="The container's memory limit; none: all."),
    ] = None
    training_cpus: Annotated[
        Annotated[float, Positive] | None, Meta(description="The container's CPUs; none: all.")
    ] = None
    kubernetes_image: Annotated[
        str | None,
        Meta(
            description="For kubernetes: the training image in a registry; without tag or digest, "
            "the tag of this version's build context is added."
        ),
    ] = None
    kubernetes_claims: Annotated[
        str,
        Meta(
            description="The volume claims with the data directory and the base model, each with "
            "where the trainer has it: `pairstream-data=/data,models=/models`."
        ),
    ] = ""
    kubernetes_namespace: Annotated[
        str,
        Meta(
            pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z",
            description="The namespace of the Jobs and the claims.",
        ),
    ] = "pairstream"
    kubernetes_node_selector: Annotated[
        str, Meta(description="Labels of the nodes that may train: `pool=gpu,zone=a`.")
    ] = ""
    kubernetes_tolerations: Annotated[
        str,
        Meta(description="Taints that a training bears: `nvidia.com/gpu:NoSchedule,pool=gpu`."),
    ] = ""
    training_spare_disk: Annotated[
        str,
        Room,
        Meta(
            description="Disk that must be free beside the base model's size before a training "
            "starts, as in 500m; off: not asked."
        ),
    ] = "1g"
    training_spare_memory: Annotated[
        str,
        Room,
        Meta(
            description="Memory that must be available beside the base model before a training "
            "starts; off: not asked."
        ),
    ] = "512m"
    keep_images: Annotated[
        int,
        Meta(ge=0, description="Training images of ours that are kept after a training."),
    ] = 1
    gate: Annotated[
        Literal["on", "off"],
        Meta(
            description="Hold what was trained against its base before it becomes the latest "
            "model; off: whatever was trained becomes it."
        ),
    ] = "on"
    gate_min_pairs: Annotated[
        int,
        Meta(ge=1, description="Held-out pairs below which the gate compares nothing."),
    ] = 20
    gate_command: Annotated[
        str,
        Meta(
            description="A gate of yours: a command that gets the model's folder as its last "
            "argument and exits 0 where it may become the latest."
        ),
    ] = ""
    gate_command_seconds: Annotated[
        float, Positive, Meta(description="A gate of yours that takes longer refuses.")
    ] = 3600.0


class TrainerSettings(TrainingSettings, frozen=True, kw_only=True):
    """The trainer."""

    trigger_pairs: Annotated[
        int,
        Meta(ge=1, description="New pairs that make the trainer cut a dataset and train."),
    ] = 1000
    trigger_age_seconds: Annotated[
        Annotated[float, Positive] | None,
        Meta(description="Age of the oldest new pair at which fewer are enough; none: no age."),
    ] = None
    trigger_tasks: Annotated[
        int,
        Meta(ge=1, description="Different tasks that the new pairs must come from at least."),
    ] = 1
    trigger_cooldown_seconds: Annotated[
        Annotated[float, Positive] | None,
        Meta(description="Time after a training in which no dataset is cut; none: no pause."),
    ] = None
    trigger_quiet_hours: Annotated[
        Annotated[str, Meta(pattern=QUIET_HOURS)] | None,
        Meta(description="Hours, in UTC, in which no dataset is cut: 22:00-06:00; none: no hours."),
    ] = None
    segment_pairs: Annotated[
        int, Meta(ge=1, description="Pairs after which a segment is closed.")
    ] = 10_000
    segment_seconds: Annotated[
        float, Positive, Meta(description="Age at which a segment is closed.")
    ] = 30.0
    http_host: HttpHost = "127.0.0.1"
    http_port: HttpPort = None


class UiSettings(DataSettings, frozen=True, kw_only=True):
    """The site of `pairstream ui`."""

    ui_host: Annotated[
        str,
        Meta(min_length=1, description="Where the site listens; elsewhere than on loopback it "
             "wants a token."),
    ] = "127.0.0.1"  # fmt: skip
    ui_port: Annotated[
        int, Meta(ge=0, le=65535, description="The site's port; 0: any that is free.")
    ] = 8321
    ui_token: Annotated[
        str | None,
        Meta(
            description="What callers of the site must know, as the password or as Bearer; by the "
            "environment or a file, never a flag."
        ),
    ] = None


SETTINGS_CLASSES: tuple[type[Struct], ...] = (
    TopicSettings, WorkerSettings, TrainerSettings, UiSettings
)  # fmt: skip

SECRETS = frozenset(
    {
        "sasl_password",
        "sasl_oauthbearer_client_secret",
        "ssl_key_password",
        "garbler_api_key",
        "ui_token",
    }
)

# `PAIRSTREAM_SASL_PASSWORD_FILE` names a file with the secret, as orchestrators mount it.
SECRET_FILE_SUFFIX = "_file"  # noqa: S105 - of a name


def known_settings() -> frozenset[str]:
    """Every setting's name: anything else that looks like one is misspelt."""
    return frozenset(
        field.name for cls in SETTINGS_CLASSES for field in msgspec.structs.fields(cls)
    )


S = TypeVar("S", bound=Struct)


def convert(values: Mapping[str, object], to: type[S]) -> S:
    """Typed settings from text or typed values by name (underscores); missing ones by default.

    Raises: msgspec.ValidationError, which names the setting and what it should be.
    """
    return msgspec.convert(values, to, strict=False, dec_hook=_decode_path)


def _decode_path(type_: type, value: object) -> object:
    if type_ is Path and isinstance(value, str):
        if not value:
            raise ValueError("it is empty: name a folder")
        return Path(value)
    raise TypeError(f"Expected `str`, got `{type(value).__name__}`")
