"""What of the pages is not run, and what they take for granted. Each entry is on its page."""

from tests.pages import reading
from tests.pages.reading import ROOT

README = "README.md"
EXAMPLES = {str(page.relative_to(ROOT)) for page in reading.EXAMPLES}

_INSTALLS = "installs from the network; tests/test_wheel.py installs what is built here"
_CLUSTER = "wants a cluster; tests/operations/test_kubernetes.py holds the files against its API"
_COMPOSE = "wants an engine and builds images; tests/operations/test_compose.py"
_LLAMA = "wants a checkout of llama.cpp; the page says that it was not run"
_BENCH = "wants Apache Kafka and takes minutes; tests/test_benchmarks.py"
_IMAGE = "wants an engine and builds the image; tests/containers/test_training_image.py"
_FRAMEWORK = "wants its framework; tests/examples/test_frameworks.py runs it"
_NODE = "installs from the network; tests/examples/test_typescript.py"
_CHAOS = "wants Apache Kafka and takes minutes; tests/chaos/test_chaos.py"

# By page, each command that no test runs as it stands there, and why.
NOT_RUN: dict[str, dict[str, str]] = {
    README: {
        "make demo": "tests/commands/test_demo.py runs what it runs",
        "make test": "this is one of them",
    },
    "examples/free_space_agent/README.md": {"pip install ./client": _INSTALLS},
    "examples/langgraph/README.md": {
        "pip install -r examples/langgraph/requirements.txt ./client": _INSTALLS,
        "python examples/langgraph": _FRAMEWORK,
    },
    "examples/openai_agents/README.md": {
        "pip install -r examples/openai_agents/requirements.txt ./client": _INSTALLS,
        "python examples/openai_agents": _FRAMEWORK,
    },
    "examples/plain_python/README.md": {"pip install ./client": _INSTALLS},
    "examples/smolagents/README.md": {
        "pip install -r examples/smolagents/requirements.txt ./client": _INSTALLS,
        "python examples/smolagents": _FRAMEWORK,
    },
    "examples/typescript/README.md": {
        "npm install": _NODE,
        "npm run types && npm run build": _NODE,
        "npm start": _NODE,
    },
    "docs/comparison.md": {
        "trl dpo --model_name_or_path models/my-model --dataset_name ./my-pairs --use_peft":
            "TRL's own command, shown beside ours",
    },
    "docs/guarantees.md": {
        "kafka-delete-records.sh ...": "a program of Apache Kafka; a segment is damaged instead",
        'make chaos ARGS="--first-seed 7 --seeds 1 --blows 50"': _CHAOS,
        "make test ARGS=tests/trainer/test_power_loss.py": "is a test",
    },
    "docs/kubernetes.md": {
        "kubectl create namespace pairstream": _CLUSTER,
        "kubectl label namespace pairstream pod-security.kubernetes.io/enforce=restricted":
            _CLUSTER,
        "kubectl apply -f deploy/kubernetes/trainings.yaml": _CLUSTER,
        ". ./image.env": _IMAGE,
        'docker build --tag "registry.example/pairstream-training:'
        '$PAIRSTREAM_TRAINING_IMAGE_HASH" .':
            _IMAGE,
        'docker push "registry.example/pairstream-training:$PAIRSTREAM_TRAINING_IMAGE_HASH"':
            "wants a registry",
        "pairstream trainer": "wants a cluster; tests/trainer/test_kubernetes_training.py",
        "kubectl -n pairstream get jobs,pods -l app.kubernetes.io/name=pairstream-training":
            _CLUSTER,
        "kubectl -n pairstream delete job pairstream-1a2b3c4d-dpo-ds-000001": _CLUSTER,
        "kubectl -n pairstream run probe --rm -i --restart=Never --image=busybox \\\n"
        "  --labels=app.kubernetes.io/name=pairstream-training "
        "-- wget -T 5 http://kubernetes.default":
            _CLUSTER,
    },
    "docs/monitoring.md": {"docker compose --profile obs up --build": _COMPOSE},
    "docs/operations.md": {
        "python3.11 -m venv .venv": _INSTALLS,
        ".venv/bin/pip install .": _INSTALLS,
        ".venv/bin/pip install ./client": _INSTALLS,
        "docker build -f docker/app/Dockerfile -t pairstream .":
            "wants an engine; tests/containers/test_service_image.py",
    },
    "docs/plug-in.md": {
        "pairstream broker": "one is there already; the tutorial's and the README's are run",
        "pip install '.[otel]'": _INSTALLS,
    },
    "docs/scaling.md": {
        "make bench-quick": _BENCH,
        'make bench ARGS="--rows a,b,e --turns 5"': _BENCH,
        'make bench ARGS="--recorded my-runs.jsonl"': _BENCH,
    },
    "docs/security.md": {
        "pairstream topics acls --apply":
            "wants brokers with an authorizer; tests/kafka/test_security.py",
    },
    "docs/serving.md": {
        "vllm serve models/my-model --enable-lora --max-lora-rank 16 \\\n"
        "    --lora-modules agent=pairstream-data/models/dpo-ds-000002/adapter":
            "vLLM wants a GPU; the page says that it was not run",
        'docker run --rm --network none --user "$(id -u):$(id -g)" \\\n'
        '    -v "$PWD/models/my-model:/base:ro" '
        '-v "$PWD/pairstream-data/models/dpo-ds-000002/adapter:/adapter:ro" \\\n'
        '    -v "$PWD:/output" pairstream-training:TAG merge --base-model /base '
        "--adapter /adapter --output /output/for-serving":
            "wants the whole training image; the page says that it was not run",
        "python llama.cpp/convert_hf_to_gguf.py ./for-serving --outtype bf16 "
        "--outfile my-model.gguf": _LLAMA,
        "llama.cpp/build/bin/llama-quantize my-model.gguf my-model-q4.gguf Q4_K_M": _LLAMA,
        "llama.cpp/build/bin/llama-server -m my-model-q4.gguf --host 127.0.0.1": _LLAMA,
        "python llama.cpp/convert_lora_to_gguf.py --base models/my-model --outfile adapter.gguf "
        "pairstream-data/models/dpo-ds-000002/adapter": _LLAMA,
        "llama.cpp/build/bin/llama-server -m base.gguf --lora adapter.gguf --host 127.0.0.1":
            _LLAMA,
    },
    "docs/training.md": {
        'docker build --label "$PAIRSTREAM_TRAINING_IMAGE_LABEL" '
        '--tag "$PAIRSTREAM_TRAINING_IMAGE" .': _IMAGE,
        'docker save "$PAIRSTREAM_TRAINING_IMAGE" | gzip > image.tar.gz': _IMAGE,
    },
    "docs/traces.md": {
        "pip install '.[otel]'": _INSTALLS,
        "TRACES_ENDPOINT=http://collector:4320 docker compose --profile otel up --build": _COMPOSE,
    },
    "docs/tutorial.md": {
        "make setup": _INSTALLS,
        'make demo ARGS="--launcher process"': "tests/commands/test_demo.py runs what it runs",
    },
    "docs/ui.md": {"pip install '.[ui]'": _INSTALLS},
    "docs/upgrade-and-backup.md": {
        "kubectl -n pairstream set image deployment/pairstream-trainer "
        "trainer=registry.example/pairstream:0.2.0": _CLUSTER,
        "kubectl -n pairstream rollout status deployment/pairstream-trainer": _CLUSTER,
        "kubectl apply -k deploy/kubernetes": _CLUSTER,
    },
}  # fmt: skip

# What installs, or reaches beyond the reader's folder: such a command is named above or refused.
REACHES_FAR = r"\b(apt|apt-get|brew|docker|helm|kubectl|make|npm|pip|sudo|uv) "

# What is done in the place of a command that is not run, where later ones build on it.
INSTEAD: dict[str, dict[str, str]] = {
    "docs/guarantees.md": {
        "kafka-delete-records.sh ...":
            "sed -i 1d $(find pairstream-data/segments -name '*.jsonl' | sort | head -n 1)",
    },
}  # fmt: skip

# Before a command, what the page's prose says or takes for granted; once, ahead of the first.
BEFORE: dict[str, dict[str, tuple[str, ...]]] = {
    "docs/datasets.md": {
        "pairstream dataset diff ds-000001 ./rebuilt --ids": (
            "pairstream replay --from pairs --eval-fraction 0.2 --out ./rebuilt",
        ),
    },
    "docs/operations.md": {
        "pairstream status --data-dir pairstream-data/demo-20261124-213048": (
            "ln -s . pairstream-data/demo-20261124-213048",
        ),
    },
    "docs/plug-in.md": {
        "pairstream bridge otlp --from-topic otlp_spans --from-topic otlp_logs": (
            "python make_topics.py otlp_spans otlp_logs",
        ),
    },
    "docs/runbook.md": {
        "pairstream spool list /var/lib/agent/spool": (
            "mkdir -p /var/lib/agent/spool",
            "python killed_agent.py /var/lib/agent/spool || true",
        ),
    },
    "docs/security-of-trainings.md": {
        "python -c \"from transformers import AutoModelForCausalLM as M; M.from_pretrained("
        "'models/old', use_safetensors=False).save_pretrained('models/old')\"": (
            "cp -rL models/my-model models/old",
            "python -c \"import torch; from safetensors.torch import load_file; "
            "torch.save(load_file('models/old/model.safetensors'), "
            "'models/old/pytorch_model.bin')\"",
            "rm models/old/model.safetensors",
        ),
    },
    "docs/settings.md": {
        "pairstream worker --config pairstream.toml": (
            "pairstream topics apply --config pairstream.toml",
            "export PAIRSTREAM_DATA_DIR=cleaners-data",
        ),
    },
    "docs/trainings.md": {
        "pairstream trainings list": (
            "rm -r pairstream-data/models/dpo-ds-000003*",
            "export PAIRSTREAM_TRAINING_MAX_STEPS=100000",
            "pairstream trainer",
            "until grep -qs ^step pairstream-data/models/dpo-ds-000003/training.log; "
            "do sleep 0.2; done",
        ),
        "pairstream trainings retry dpo-ds-000003 --base-model models/other": (
            "until [ -e pairstream-data/models/dpo-ds-000003/manifest.json ]; do sleep 0.2; done",
            "export PAIRSTREAM_TRAINING_MAX_STEPS=1",
        ),
    },
    "docs/tutorial.md": {
        "pairstream doctor": (". ./settings.sh", "pairstream broker"),
        "pairstream tail --since 1h &": ("pairstream worker",),
        "pairstream dataset show ds-000001": (
            "until [ -d pairstream-data/models/dpo-ds-000001 ]; do sleep 0.2; done",
        ),
    },
    "docs/ui.md": {
        "export PAIRSTREAM_UI_TOKEN_FILE=/run/secrets/ui-token": (
            "mkdir -p /run/secrets && openssl rand -hex 16 > /run/secrets/ui-token",
        ),
    },
    "docs/upgrade-and-backup.md": {
        'cp -a "$BACKUP" pairstream-data': ("mv pairstream-data lost",),
        "pairstream replay --from pairs --dataset kept/ds-000007 --out again": (
            "mkdir kept && cp -a lost/datasets/ds-000002 kept/ds-000007",
        ),
    },
}  # fmt: skip

# The exit codes of a command, one for each time that it is run, where the page tells of one.
EXITS: dict[str, dict[str, tuple[int, ...]]] = {
    "docs/guarantees.md": {"pairstream verify": (0, 1)},
    "docs/tutorial.md": {"pairstream doctor": (1, 1)},
}

# Commands whose output, as the page shows it, is that of another deployment, but for its first
# line.
SHOWN_OF_ANOTHER: dict[str, set[str]] = {
    "docs/datasets.md": {"pairstream dataset list"},
    "docs/operations.md": {"pairstream status --data-dir pairstream-data/demo-20261124-213048"},
    "docs/trainings.md": {"pairstream trainings list"},
}

# Commands that go on, and what they say once they are up.
GOES_ON = {
    r"pairstream broker\b": "embedded broker at",
    r"pairstream worker\b": "partitions_taken_over",
    r"pairstream trainer\b(?!.*--once)": "trainer_started",
    r"pairstream ui\b": "pairstream ui at",
    r"pairstream bridge\b": "listens at|reads ",
    r"pairstream tail\b": "following ",
    r"pairstream status --watch\b": "open runs",
}
# The same, where it depends on what the page is about.
GOES_ON_HERE: dict[str, dict[str, str]] = {
    "docs/trainings.md": {r"pairstream trainings logs .* --follow": "step "},
}

# Pages of several stories: each section begins anew.
APART = {"docs/plug-in.md", "docs/runbook.md", "docs/ui.md"}

# Pages on which trainings are run, or looked into.
TRAINING = {
    "docs/models.md", "docs/monitoring.md", "docs/security-of-trainings.md", "docs/serving.md",
    "docs/trainings.md", "docs/tutorial.md", "docs/unpaired.md",
}  # fmt: skip

# Those of them that only look at the models that are there before.
STAND_IN_MODELS = {"docs/monitoring.md", "docs/security-of-trainings.md", "docs/trainings.md"}

# Pages that start their broker themselves, so that nothing is there before them.
BEGIN_WITH_NOTHING = {README, "docs/tutorial.md", *EXAMPLES}

# What stands on a page and is another thing here: whatever the machine has one of alone.
PORTS = ("9092", "4318", "8321", "9464", "9465")
PLACES = ("/backup/", "/data/", "/models/", "/opt/", "/run/secrets", "/var/lib/")
