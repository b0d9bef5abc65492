"""An image like that of trainings, with a stand-in for the script."""

from tests.trainer.stand_in import STAND_IN
from trainer.image import REQUIREMENTS, SCRIPT, BuildContext

DOCKERFILE = b"""\
FROM python:3.10-slim
COPY train_dpo /train_dpo
USER 1000:1000
ENTRYPOINT ["python", "-u", "/train_dpo/__main__.py"]
"""


def small_context(mark: str = "") -> BuildContext:
    """An image that builds in a second; `mark` makes it another one."""
    script = STAND_IN.read_bytes() + f"\n# {mark}\n".encode()
    return BuildContext({"Dockerfile": DOCKERFILE, REQUIREMENTS: b"", SCRIPT: script})
