"""Every defect of stock Faust 0.15.3, and of aiokafka 0.14 under it, that the worker lives with.

`shown` names the test that shows it beside our cure. Where no test can, `reason` says why. FS# are
issues of faust-streaming, RH# those of robinhood/faust, which it was made from.
"""

from typing import NamedTuple


class Defect(NamedTuple):
    id: str
    symptom: str
    shown: str = ""
    reason: str = ""


_ACKNOWLEDGING = "tests/faust/test_acknowledging.py::test_"
_COMMITTING = "tests/faust/test_committing.py::test_"
_PRODUCING = "tests/faust/test_producing.py::test_"
_STATE = "tests/faust/test_state.py::test_"
_SURROUNDINGS = "tests/faust/test_surroundings.py::test_"
_COORDINATOR = "tests/faust/test_group_coordinator.py::test_"
_WORKER = "tests/kafka/test_worker.py::test_"

DEFECTS = (
    # --- Lost messages ---------------------------------------------------------------------------
    Defect(
        "L1",
        "what an agent fails on is acknowledged (FS#315)",
        _ACKNOWLEDGING + "event_on_which_the_agent_fails_is_not_done",
    ),
    Defect(
        "L2",
        "one bad batch of take() acknowledges all of it (FS#189)",
        _ACKNOWLEDGING + "batch_on_which_the_agent_fails_is_not_done",
    ),
    Defect(
        "L3",
        "a stop in the midst of an event acknowledges it",
        _ACKNOWLEDGING + "event_amid_which_the_agent_is_cancelled_is_done_only_when_finished",
    ),
    Defect(
        "L4",
        "acknowledged out of order, the commit passes the unfinished head (FS#606)",
        _COMMITTING + "commit_stops_before_a_head_that_is_unfinished",
    ),
    Defect(
        "L5",
        "the record behind a hole is taken for part of the hole",
        _COMMITTING + "record_behind_a_hole_in_the_log_is_no_part_of_the_hole",
    ),
    Defect(
        "L6",
        "the offset is committed while its rows are still in memory",
        _PRODUCING + "offset_is_committed_after_rows_and_state_are_written",
    ),
    Defect(
        "L7",
        "a failed write is logged, and the offset committed",
        _PRODUCING + "offset_of_what_could_not_be_written_is_not_committed",
    ),
    Defect(
        "L7 twice",
        "a write that is tried again can be there twice",
        _PRODUCING + "resent_record_is_not_written_twice",
    ),
    Defect(
        "L8",
        "rows are sent outside of the transaction (FS#177)",
        _PRODUCING + "transactions_that_leave_rows_out_are_not_relied_on",
    ),
    Defect(
        "L9",
        "without the compiled stream, skipped events are acknowledged",
        _ACKNOWLEDGING
        + "events_of_an_old_generation_are_not_done_where_the_compiled_stream_skips_them",
    ),
    Defect(
        "L9 refusal",
        "and only a look at the installation tells",
        _ACKNOWLEDGING + "worker_refuses_a_faust_without_the_compiled_stream",
    ),
    Defect(
        "L10",
        "a record that cannot be decoded is acknowledged first",
        _ACKNOWLEDGING + "record_that_cannot_be_decoded_is_done_when_its_dead_letter_is_written",
    ),
    Defect(
        "L11",
        "an error of the recovery is logged, and the state is incomplete",
        _STATE + "state_that_cannot_be_read_whole_ends_the_worker",
    ),
    Defect(
        "L11 others",
        "a record of an unknown changelog is applied to the table before it",
        _STATE + "record_of_another_table_changes_nothing",
    ),
    Defect(
        "positions",
        "after a rebalance, aiokafka moves back only where something was committed",
        _COMMITTING
        + "what_was_fetched_within_a_rebalance_is_fetched_again_where_nothing_is_committed",
    ),
    Defect(
        "spanning fetch",
        "records from behind the position hide those before them",
        _COMMITTING + "fetch_that_spans_a_rebalance_hides_no_records",
    ),
    Defect(
        "overlooked error",
        "a coordinator that moves looks like a group without commits (aiokafka)",
        _COORDINATOR + "coordinator_that_does_not_know_is_not_taken_for_a_group_without_commits",
    ),
    # --- Done twice ------------------------------------------------------------------------------
    Defect(
        "D0",
        "a rebalance forgets what was done since the last commit (FS#502)",
        _COMMITTING + "what_is_finished_at_a_rebalance_is_committed_first",
    ),
    Defect(
        "publish on commit",
        "stream_publish_on_commit publishes the rows of the event behind the commit",
        _PRODUCING + "rows_of_an_unfinished_event_are_not_published_by_the_commit_before_it",
    ),
    Defect(
        "zombie",
        "a worker that wakes goes on writing",
        _PRODUCING + "zombie_that_wakes_writes_nothing",
    ),
    Defect(
        "zombie's state",
        "also into the state of partitions that were given away",
        _PRODUCING + "state_of_a_partition_that_was_given_away_is_not_written",
    ),
    Defect(
        "dirty state",
        "what no changelog has survives in the tables",
        _STATE + "what_no_log_has_is_forgotten_at_a_rebalance",
    ),
    Defect(
        "dirty disk",
        "and on the disk",
        _SURROUNDINGS + "nothing_is_kept_on_disk",
    ),
    Defect(
        "refused commit",
        "a commit that the group refused is taken for made (FS#611)",
        _COMMITTING + "commit_that_the_group_refused_is_not_taken_for_made",
    ),
    # --- Stalls, memory, surroundings ------------------------------------------------------------
    Defect(
        "slow death",
        "consumers go on without their agent, which failed long ago (FS#175)",
        _ACKNOWLEDGING + "event_on_which_the_agent_fails_is_not_done",
    ),
    Defect(
        "own topics",
        "topics are made with other replicas than asked for (FS#166)",
        _SURROUNDINGS + "setting_that_stock_faust_has_otherwise",
    ),
    Defect(
        "recovery race",
        "a queue that is cleared after the recovery leaves a gap for ever (FS#596)",
        reason="a race within the recovery that the worker does not use: see 'recovery hangs'",
    ),
    Defect(
        "recovery hangs",
        "the recovery waits for offsets at which no records are (FS#597, FS#158)",
        _STATE + "recovery_does_not_wait_for_records_that_the_log_does_not_have",
    ),
    Defect(
        "fetch warnings",
        "'Aiokafka has not sent fetch request', and a livelock detector that only logs (FS#503)",
        reason="a misleading line of a log, without effect on what is read or committed",
    ),
    Defect(
        "full buffer",
        "where every partition's buffer is full, the consumer sleeps a whole second",
        _COMMITTING + "full_buffers_are_waited_for_until_one_has_room",
    ),
    Defect(
        "unbounded buffer",
        "a topic's maxsize is dropped, so 4096 batches may wait in memory",
        _COMMITTING + "what_is_unfinished_is_bounded_and_nothing_is_kept_of_what_is_finished",
    ),
    Defect(
        "gated input",
        "a hundred unwritten messages hold up every record (FS#173)",
        _PRODUCING + "full_buffer_of_fausts_producer_holds_up_no_input",
    ),
    Defect(
        "growing list",
        "what is acknowledged behind an unfinished head is sorted at each commit",
        _COMMITTING + "what_is_acknowledged_behind_an_unfinished_head_is_not_sorted_at_each_commit",
    ),
    Defect(
        "opentracing",
        "without it, a rebalance raised an AttributeError",
        reason="mended in the pinned 0.15.3; the tests of rebalances here run without it",
    ),
    Defect(
        "RocksDB, windows",
        "formats, locks and backups that fail (FS#261); on_window_close without data",
        reason="neither is used: see 'dirty disk'; runs are settled by events in the log",
    ),
    Defect(
        "codecs",
        "a compressed batch whose codec is not installed ends the consumer (aiokafka#1032)",
        _SURROUNDINGS + "records_of_every_codec_are_read_or_the_worker_does_not_start",
    ),
    Defect(
        "silent agent",
        "an error of decoding ends an agent that uses take(), and nothing says so (RH#586)",
        _ACKNOWLEDGING + "record_that_cannot_be_decoded_is_done_when_its_dead_letter_is_written",
    ),
    Defect(
        "hanging end",
        "a crashed worker hangs instead of ending (RH#301)",
        _WORKER + "a_worker_that_stood_still_ends_when_it_wakes_and_its_successor_is_right",
    ),
    Defect(
        "missing topic",
        "the start waits for ever for a topic that does not exist",
        _WORKER + "missing_topics_an_absent_broker_and_other_partitions_are_named",
    ),
    Defect(
        "leader",
        "a topic more, for a leader that nobody needs, can fail the start (RH#400)",
        _SURROUNDINGS + "setting_that_stock_faust_has_otherwise",
    ),
    Defect(
        "cancelled end",
        "a fetch that waits for its next try breaks off a stop, which then hangs (aiokafka)",
        _SURROUNDINGS + "fetch_that_waits_for_its_next_try_does_not_break_off_a_stop",
    ),
    Defect(
        "no takeover",
        "a rebalance that overtakes another may leave partitions that nobody takes over (FS#175)",
        _STATE + "partitions_that_nobody_takes_over_end_the_worker",
    ),
    Defect(
        "deaf",
        "brokers that do not answer for 90 s at the end of a recovery end it, and all later ones",
        _STATE + "recovery_waits_for_the_brokers_however_long",
    ),
    Defect(
        "former leader",
        "who leads a partition no more is asked for its position for five minutes (aiokafka)",
        "tests/faust/test_positions.py::test_"
        "who_leads_is_looked_up_when_a_position_is_asked_for_in_vain",
    ),
    Defect(
        "changelog kept",
        "the changelog is fetched into buffers that nobody empties, megabytes for each partition",
        "tests/faust/test_changelog_fetching.py::test_"
        "the_changelog_is_not_fetched_into_buffers_that_nobody_empties",
    ),
    Defect(
        "web server",
        "serves tables to the whole network without a password",
        _SURROUNDINGS + "setting_that_stock_faust_has_otherwise",
    ),
    Defect(
        "pickle",
        "a codec that runs what a record says",
        _SURROUNDINGS + "pickle_in_a_record_is_not_opened",
    ),
    Defect(
        "D1",
        "the confluent driver's records are all skipped, and its checks raise",
        _SURROUNDINGS + "driver_whose_records_faust_skips_is_not_used",
    ),
)
