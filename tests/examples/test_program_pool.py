import random

import pytest
from agent_loop import try_out
from disk_tasks import make_task
from fenced_run import ORDINARY_LIMITS
from program_pool import Plan, Pool, read_plans, without_a_colon, without_an_import

pytestmark = pytest.mark.long

PLANS = read_plans()
WORTHS = ["no_effect", "harmful", "partial", "good", "best"]
MOST_CHARACTERS = 600

each_plan = pytest.mark.parametrize("plan", PLANS, ids=[plan.wordings[0][:24] for plan in PLANS])


@each_plan
@pytest.mark.parametrize("number", [3, 421])
def test_programs_are_worth_what_the_pool_says(plan: Plan, number: int) -> None:
    task = make_task(number)
    tried = {
        worth: try_out(task, program, ORDINARY_LIMITS) for worth, program in plan.programs.items()
    }

    assert sorted(tried) == sorted(WORTHS)
    assert all(attempt.ran for attempt in tried.values())
    assert tried["no_effect"].error == "the program ran and freed nothing"
    assert "must stay as it is" in (tried["harmful"].error or "")
    assert tried["no_effect"].score == tried["harmful"].score == 0
    assert 0 < tried["partial"].score < tried["good"].score <= tried["best"].score


def test_the_best_programs_together_free_all_junk() -> None:
    task = make_task(3)
    together = "\n".join(plan.programs["best"] for plan in PLANS)

    attempt = try_out(task, together, ORDINARY_LIMITS)

    assert attempt.score == sum(len(file.content) for file in task.junk)


@each_plan
@pytest.mark.parametrize("seed", range(3))
def test_a_program_without_a_colon_does_not_compile(plan: Plan, seed: int) -> None:
    spoilt = without_a_colon(plan.programs["best"], random.Random(seed))

    attempt = try_out(make_task(3), spoilt, ORDINARY_LIMITS)

    assert (attempt.compiled, attempt.ran, attempt.fault) == (False, False, None)
    assert "SyntaxError" in (attempt.error or "")


@each_plan
@pytest.mark.parametrize("seed", range(3))
def test_a_program_without_an_import_compiles_and_fails(plan: Plan, seed: int) -> None:
    spoilt = without_an_import(plan.programs["best"], random.Random(seed))

    attempt = try_out(make_task(3), spoilt, ORDINARY_LIMITS)

    assert (attempt.compiled, attempt.ran, attempt.fault) == (True, False, None)
    assert "NameError" in (attempt.error or "")


@each_plan
def test_a_strategy_and_its_programs_are_short_enough_to_learn_from(plan: Plan) -> None:
    assert plan.wordings
    for wording in plan.wordings:
        assert max(len(wording) + len(program) for program in plan.programs.values()) < (
            MOST_CHARACTERS
        )


def test_a_run_never_proposes_a_strategy_twice() -> None:
    for number in range(12):
        writer = Pool(0).for_run(number)
        proposed = [writer.propose([]) for _ in PLANS]

        assert len(set(proposed)) == len(PLANS)
