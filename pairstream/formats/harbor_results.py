"""What Harbor's `result.json` says of a trial: its rewards, and why it broke. Pure."""

from msgspec import Struct

from pairstream.formats.record import Choices, Fault, chosen_score

# Of several rewards this one counts, unless another is chosen.
REWARD = "reward"

# What breaks a trial without the agent, by the ends of the exceptions' names. Newer results say
# themselves whether their reward is valid.
INFRASTRUCTURE = (
    "EnvironmentStartTimeoutError", "SandboxBuildFailedError", "AgentSetupTimeoutError",
    "HealthcheckError", "SandboxLikelyOutOfMemoryError", "ApiRateLimitError",
    "ApiInternalServerError", "ApiOverloadedError", "NetworkConnectionError",
    "AgentAuthenticationError", "ModelNotFoundError", "VerifierTimeoutError",
    "VerifierOutputParseError", "RewardFileNotFoundError", "RewardFileEmptyError",
    "AddTestsDirError", "DownloadVerifierDirError",
)  # fmt: skip
CANCELLED = ("CancelledError", "KeyboardInterrupt")


class _Verified(Struct):
    rewards: dict[str, float] | None = None


class _Policy(Struct):
    has_valid_reward: bool = True


class _Exception(Struct):
    exception_type: str
    policy: _Policy | None = None


class TrialResult(Struct):
    trial_name: str
    task_name: str | None = None
    id: str | None = None
    verifier_result: _Verified | None = None
    exception_info: _Exception | None = None
    started_at: str | None = None
    finished_at: str | None = None


def reward_of(result: TrialResult, choices: Choices) -> float | None:
    """Raises: Unreadable, as `chosen_score` does."""
    rewards = (result.verifier_result.rewards if result.verifier_result else None) or {}
    if choices.score_name is None and REWARD in rewards:
        rewards = {REWARD: rewards[REWARD]}
    return chosen_score(rewards, choices)


def fault_of(result: TrialResult) -> Fault | None:
    broken = result.exception_info
    if broken is None:
        return None
    if broken.exception_type.endswith(CANCELLED):
        return "cancelled"
    if broken.policy is not None:
        return None if broken.policy.has_valid_reward else "infrastructure"
    return "infrastructure" if broken.exception_type.endswith(INFRASTRUCTURE) else None
