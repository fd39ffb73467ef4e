"""What this bench promises about objects on the network, what goes wrong, and the tests that hold it.

A test is named by its function, or by its file where all of it is meant;
`tests/house/test_conformance.py` looks whether they are there.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Promise:
    """One promise, and the tests that hold it."""

    words: str
    tests: tuple[str, ...]


PROMISES: Mapping[str, Promise] = {
    "P1": Promise(
        "C-STORE is answered with success when the bytes of the object, its name in its "
        "folder and a row of the catalog that "
        "notes it are on the disk (fsync of file and folder; SQLite with WAL and "
        "synchronous=FULL, or PostgreSQL with "
        "synchronous_commit=on, its default).",
        (
            "test_22_P1_success_is_sent_after_the_file_its_name_and_its_row_are_on_the_disk",
            "test_23_P1_P8_killed_at_a_system_call_what_was_acknowledged_is_there_and_nothing_else",
            "test_37_P1_SIGTERM_under_load_ends_soon_and_keeps_all_that_was_acknowledged",
            "test_26_P1_a_disk_that_fills_refuses_with_A700_and_recovers_without_a_restart",
            "test_22_P1_every_connection_of_sqlite_has_the_pragmas_that_make_it_durable",
        ),
    ),
    "P2": Promise(
        "The data set that is stored is the one that was received, bit for bit, and goes "
        "out again so; the SHA-256 of the whole "
        "file is in the catalog. Nothing is coerced.",
        (
            "test_P2_what_dcmsend_sends_is_stored_bit_for_bit",
            "test_P2_every_class_in_every_transfer_syntax_is_stored_bit_for_bit",
            "test_P2_getscu_gets_the_data_sets_bit_for_bit",
            "test_P2_movescu_has_the_data_sets_sent_to_a_node_bit_for_bit",
            "test_P2_stored_bytes_are_those_that_came_and_their_digest_is_kept",
        ),
    ),
    "P3": Promise(
        "An object that came whole is stored, an identical duplicate, a conflict that is "
        "kept beside, or in quarantine with a "
        "reason: exactly one of these. Nothing is overwritten or deleted.",
        (
            "test_P3_the_same_bytes_again_are_a_success_that_changes_nothing",
            "test_25_P3_other_bytes_under_a_known_UID_are_kept_beside_and_nothing_is_written_over",
            "test_P3_what_is_not_what_it_was_said_to_be_is_quarantined",
            "test_P3_what_is_cut_is_never_stored_as_complete",
            "test_25_P3_twenty_senders_of_the_same_study_leave_it_once",
        ),
    ),
    "P4": Promise(
        "Storage is committed to for what lies here as it was named: small objects after "
        "their bytes were read again and their "
        "digest compared, large ones by size; a log line has how many were compared by checksum.",
        (
            "test_28_what_is_not_here_as_it_was_named_is_not_promised",
            "test_30_a_byte_that_flipped_since_is_not_promised",
            "test_28_what_is_owed_survives_a_restart",
        ),
    ),
    "P5": Promise(
        "What is sent goes out at least once, under the same SOP Instance UID and with "
        "the same bytes on every try, in the order "
        "of its study. It is *stored* after the node answered so, *committed* after the "
        "node reported so, *confirmed* after the "
        "node gave back the same data set.",
        (
            "test_27_nothing_is_lost_or_told_too_early_and_order_is_kept_whatever_a_node_answers",
            "test_28_committed_is_said_of_what_the_node_committed_to_and_of_nothing_else",
            "test_23_P5_P8_a_sender_killed_at_a_system_call_loses_nothing_and_sends_the_same_bytes",
            "test_23_P5_a_sender_killed_before_any_step_is_written_down_loses_nothing",
            "test_29_a_bad_line_costs_bounded_time_and_ends_with_one_copy_at_the_node",
            "test_27_P5_an_honest_node_gets_the_bytes_as_they_stand_in_their_order_and_confirms",
            "test_23_P5_P8_killed_at_any_system_call_one_delivery_comes_of_each_object_and_node",
        ),
    ),
    "P6": Promise(
        "Each stage of a delivery is written in the transaction that changes the "
        "delivery, each correction and deletion in the "
        "one that applies it, who sent an object (`workbench received`) in the one that notes it, "
        "what a rule did in the one that queues the delivery. "
        "**An audit trail of who read what (ATNA) is not kept yet.**",
        (
            "test_stages_come_back_with_their_time_zone",
            "test_who_sent_what_is_on_record_with_what_became_of_it",
            "test_a_message_of_a_stranger_is_on_record_as_that",
            "test_P3_whatever_statement_a_round_dies_at_one_delivery_comes_of_it",
        ),
    ),
    "P7": Promise(
        "No DICOM object leaves but to a node of the settings: by a command that names it, by a rule "
        "(`[[routes]]`) that names it, or because it asks and may retrieve. Where one rule that holds "
        "demands `deidentify` for a node, the object itself does not go there by any rule: only "
        "what the function of the settings (`deidentifier`) made of it does, if it can be read and has "
        "another Patient ID, Patient's Name, Study, Series and SOP Instance UID than the original; else "
        "nothing, and the record says why. **Missing: no profile of PS3.15 annex E is part of this "
        "version. What else is removed, burnt-in text for one, is the function's business and is not "
        "looked at; commands and retrieval give out what came.**",
        (
            "test_2_who_may_not_retrieve_gets_nothing_and_where_nobody_is_known_nothing_goes",
            "test_where_one_rule_that_holds_demands_it_nothing_goes_out_with_an_identity",
            "test_without_a_function_that_removes_identities_nothing_leaves_and_it_says_why",
            "test_a_function_that_does_not_do_its_work_lets_nothing_out",
            "test_what_goes_out_without_identity_shows_none_and_is_signed",
            "test_a_series_that_is_stable_is_an_event_that_tells_its_rule_and_has_it_de_identified",
        ),
    ),
    "P8": Promise(
        "A crash at any instruction needs nothing mended by hand: the next start "
        "finishes what was noted and removes what was not.",
        (
            "test_23_P1_P8_killed_at_a_system_call_what_was_acknowledged_is_there_and_nothing_else",
            "test_23_P5_P8_killed_at_any_system_call_one_delivery_comes_of_each_object_and_node",
            "test_P8_a_failed_commit_leaves_nothing_after_the_next_start",
            "test_23_P8_a_killed_run_is_completed_by_the_next",
            "catalog/test_released_schemas.py",
        ),
    ),
}
"""Promises in our words."""

FAULTS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "1": (
        "no text of the wire in a path",
        (
            "test_1_no_text_of_the_wire_is_ever_part_of_a_path",
            "test_1_no_text_of_an_object_is_ever_part_of_a_path",
            "test_1_a_uid_that_could_be_a_path_is_refused",
            "test_1_a_series_is_found_fetched_and_the_same",
        ),
    ),
    "2": (
        "who may do what",
        (
            "test_2_only_known_callers_from_their_own_address_are_answered",
            "test_2_who_may_ask_finds_what_was_received",
            "test_2_who_may_not_retrieve_gets_nothing_and_where_nobody_is_known_nothing_goes",
            "test_2_who_may_not_ask_is_told_so_and_nothing_is_owed",
        ),
    ),
    "4": (
        "answers without end",
        (
            "test_4_a_wide_question_to_the_web_is_bounded_and_the_table_says_so",
            "test_4_an_endless_peer_is_asked_for_a_narrower_question",
            "test_4_a_page_without_end_is_left",
            "properties/test_multipart.py",
        ),
    ),
    "5": (
        "PDUs that claim too much, silent and slow peers",
        (
            "test_5_a_PDU_that_claims_too_much_before_an_association_ends_the_connection",
            "test_5_silent_connections_do_not_keep_a_good_peer_out",
            "test_5_PDVs_that_break_the_rules_end_the_association_alone",
            "test_5_who_sends_a_byte_a_second_is_left",
            "test_5_an_answer_without_end_is_left",
        ),
    ),
    "6": (
        "what is deflated",
        (
            "test_6_nothing_is_asked_deflated_as_a_megabyte_may_become_a_gigabyte",
            "catalog/test_guard.py",
        ),
    ),
    "7": (
        "headers that lie about pixels",
        (
            "test_7_a_header_that_cannot_be_is_a_rejection_with_the_reason",
            "test_7_small_files_that_claim_huge_frames_take_little_memory",
        ),
    ),
    "8": (
        "decoders in child processes",
        (
            "test_8_a_decoder_that_crashes_costs_one_instance_and_the_series_goes_on",
            "test_8_an_altered_frame_is_values_or_a_reason_and_the_next_frame_is_right",
            "pipelines/test_jail.py",
        ),
    ),
    "9": (
        "preambles that make a file something else",
        (
            "test_9_a_preamble_that_makes_the_file_something_else_is_a_deviation",
            "test_9_a_preamble_does_not_come_in_by_the_wire_nor_go_out_by_it",
            "test_9_a_preamble_goes_out_by_no_request_of_the_web_and_the_digest_is_that_of_the_file",
            "test_9_a_preamble_comes_in_by_no_answer_of_the_web",
            "test_9_a_file_that_is_TIFF_too_stays_one",
            "test_9_a_preamble_is_noted_and_never_part_of_an_instance_that_is_written",
        ),
    ),
    "10": (
        "truncation",
        (
            "test_10_P3_a_file_cut_at_any_element_is_never_stored_as_complete",
            "test_10_P2_a_connection_cut_in_the_middle_leaves_nothing",
            "test_10_a_series_that_is_cut_short_is_told_with_counts_and_what_came_is_kept",
        ),
    ),
    "13": (
        "questions to the web, and pages of answers",
        (
            "test_13_whatever_a_peer_makes_of_limit_and_offset_no_row_is_lost_or_told_twice",
            "test_13_a_peer_that_repeats_its_page_although_there_are_more_is_told_with_the_count",
            "test_13_fuzzy_matching_is_asked_for_and_a_peer_that_has_none_is_told",
            "test_13_lists_sequences_and_wildcards_have_the_form_of_qido",
        ),
    ),
    "14": (
        "values that are none",
        ("test_14_values_that_are_none_are_not_known",),
    ),
    "15": (
        "redirects",
        ("test_15_no_redirect_is_followed_and_the_other_host_hears_nothing",),
    ),
    "17": (
        "nothing of a patient, no token where it can be read",
        (
            "test_17_no_log_metric_or_comment_of_a_receiver_tells_of_a_patient",
            "test_17_no_receipt_or_log_of_a_sender_tells_of_a_patient",
            "test_17_no_error_of_the_web_repeats_question_token_or_answer",
            "test_17_the_reason_of_a_file_that_cannot_be_read_tells_nothing_of_it",
        ),
    ),
    "18": (
        "what nobody set up",
        (
            "test_18_what_nobody_set_up_listens_on_this_machine_alone",
            "test_18_a_bench_that_nobody_set_up_answers_nobody",
            "test_18_the_world_is_not_served_without_TLS_and_known_callers",
        ),
    ),
    "19": (
        "TLS",
        (
            "test_19_a_known_certificate_is_met_with_TLS_1_2_and_1_3",
            "test_19_TLS_1_1_is_refused_by_the_bench",
            "test_19_an_expired_certificate_is_refused",
            "test_19_who_does_not_prove_who_it_is_is_refused",
            "test_19_a_caller_is_known_by_its_certificate",
            "test_19_who_is_not_trusted_gets_no_association",
        ),
    ),
    "21": (
        "leaks",
        (
            "test_21_two_hundred_associations_that_end_in_any_way_leave_nothing",
            "test_21_twenty_thousand_associations_that_end_in_any_way_leave_nothing",
            "test_21_associations_that_end_in_any_way_leave_neither_threads_nor_open_files",
        ),
    ),
    "22": (
        "the order of system calls before an answer",
        ("test_22_P1_success_is_sent_after_the_file_its_name_and_its_row_are_on_the_disk",),
    ),
    "23": (
        "killed at any system call",
        (
            "test_23_P1_P8_killed_at_a_system_call_what_was_acknowledged_is_there_and_nothing_else",
            "test_23_P1_P8_killed_at_every_system_call_what_was_acknowledged_is_there_and_nothing_else",
            "test_23_P5_P8_a_sender_killed_at_a_system_call_loses_nothing_and_sends_the_same_bytes",
            "test_23_P5_a_sender_killed_before_any_step_is_written_down_loses_nothing",
            "test_23_P8_a_killed_run_is_completed_by_the_next",
            "test_23_P8_what_was_killed_in_a_batch_is_the_old_or_the_new",
            "test_23_P5_P8_killed_at_any_system_call_one_delivery_comes_of_each_object_and_node",
        ),
    ),
    "24": (
        "a disk that loses what was not synchronised: no such file system is at hand, so "
        "the order of calls stands for it",
        ("test_22_P1_success_is_sent_after_the_file_its_name_and_its_row_are_on_the_disk",),
    ),
    "25": (
        "duplicates and conflicts",
        (
            "test_25_uploads_and_deletions_at_once_leave_what_the_log_says",
            "test_25_P3_twenty_senders_of_the_same_study_leave_it_once",
            "test_25_P3_twenty_threads_with_the_same_objects_leave_one_file_each",
            "test_25_P3_two_processes_with_the_same_objects_lose_none",
            "test_25_P3_other_bytes_under_a_known_UID_are_kept_beside_and_nothing_is_written_over",
        ),
    ),
    "26": (
        "a full disk",
        (
            "test_26_P1_a_disk_that_fills_refuses_with_A700_and_recovers_without_a_restart",
            "test_26_P1_without_room_at_one_write_it_is_refused_or_kept_and_the_next_try_succeeds",
            "test_26_P8_without_room_from_some_write_on_what_was_acknowledged_is_there_when_there_is_room_again",
            "test_26_P1_a_disk_that_fills_under_one_folder_refuses_with_A700_and_recovers_without_a_restart",
            "test_26_a_request_for_commitment_that_cannot_be_kept_is_told_so_and_the_next_one_is",
            "test_26_an_outbox_without_room_queues_nothing_and_the_next_try_does",
            "test_26_P5_a_catalog_without_room_sends_nothing_that_it_cannot_note_and_loses_nothing",
            "test_26_a_log_without_room_ends_nothing",
            "test_26_what_finds_no_room_for_its_output_says_so",
            "test_26_P8_an_index_on_a_full_disk_says_so_and_goes_on_when_there_is_room",
        ),
    ),
    "27": (
        "the outbox, whatever a node answers",
        (
            "test_27_nothing_is_lost_or_told_too_early_and_order_is_kept_whatever_a_node_answers",
            "test_27_the_receipt_says_what_the_node_answered",
            "test_27_what_may_pass_is_tried_again_and_what_cannot_is_not",
            "test_27_a_node_that_says_stored_and_keeps_nothing_is_sent_it_again",
            "test_27_what_a_lying_node_gives_back_confirms_nothing",
            "faults/test_stow_peer.py",
            "properties/test_deliveries.py",
        ),
    ),
    "28": (
        "storage commitment, both ways",
        (
            "test_28_what_is_not_here_as_it_was_named_is_not_promised",
            "test_28_another_request_under_a_transaction_UID_in_use_is_refused_and_the_first_is_answered",
            "test_28_both_requests_under_one_transaction_UID_are_answered_after_a_restart",
            "test_28_a_caller_that_does_not_wait_is_told_at_its_own_address",
            "test_28_a_report_that_the_node_fails_to_take_is_sent_again",
            "test_28_committed_is_said_of_what_the_node_committed_to_and_of_nothing_else",
            "test_28_a_report_that_is_lost_is_not_waited_for_without_end_and_reading_back_decides",
            "test_28_a_report_that_comes_late_after_a_restart_is_answered_and_changes_nothing",
            "test_28_a_report_that_reaches_workbench_receive_reaches_the_send_beside_it",
            "test_28_a_report_that_comes_while_no_send_runs_counts_for_the_next_one",
            "test_28_a_report_that_nothing_waits_for_is_acknowledged_and_changes_nothing",
            "test_28_where_the_port_is_taken_what_is_sent_is_read_back_and_the_receipt_says_so",
            "test_30_a_byte_that_flipped_since_is_not_promised",
            "test_28_ten_thousand_references_are_answered",
            "test_28_a_request_that_is_none_or_too_large_is_refused_and_costs_nothing",
        ),
    ),
    "29": (
        "bad lines",
        (
            "test_29_a_bad_line_costs_bounded_time_and_ends_with_one_copy_at_the_node",
            "test_29_what_comes_over_a_bad_line_is_there_once_and_others_are_received_meanwhile",
            "test_29_a_report_of_commitment_over_a_bad_line_stays_owed_and_arrives_when_it_is_good",
            "test_29_a_fetch_over_a_bad_line_ends_in_bounded_time_and_the_next_has_it_whole",
            "test_29_a_peer_that_falls_silent_or_sends_byte_by_byte_is_left",
            "test_29_a_line_that_breaks_postpones_and_the_next_try_arrives",
        ),
    ),
    "30": (
        "bytes that flip on the disk",
        (
            "test_30_a_byte_that_flipped_since_is_not_promised",
            "workbench/test_scrub.py",
        ),
    ),
    "32": (
        "clocks that jump",
        (
            "test_32_whatever_the_clock_does_nothing_is_lost_or_sent_as_other_bytes",
            "test_32_P1_a_receiver_whose_clock_is_set_ends_no_association_and_loses_nothing",
            "test_32_what_a_wrong_clock_put_off_is_due_when_it_is_right",
            "test_32_no_rest_and_no_lease_is_longer_than_what_is_taken_for_a_wrong_clock",
            "test_32_a_clock_that_jumps_gives_up_no_report_of_storage_commitment",
            "test_32_the_wall_clock_makes_no_series_stable_and_keeps_none_from_it",
            "test_32_a_clock_that_is_set_changes_no_rate_of_a_harvest",
            "test_32_hours_of_a_harvest_are_those_of_the_wall_when_summer_time_begins_and_ends",
            "test_32_a_clock_that_is_set_changes_no_pause",
        ),
    ),
    "34": (
        "a catalog that cannot answer, on either kind of database",
        (
            "test_34_what_the_catalog_cannot_answer_is_a_status_of_C_FIND",
            "test_34_too_many_questions_at_a_time_are_told_in_words",
            "faults/test_catalog_writers.py",
        ),
    ),
    "36": (
        "load",
        (
            "test_36_four_senders_and_one_who_asks_are_all_answered_in_time",
            "test_36_large_objects_cost_no_memory",
            "test_36_a_large_instance_is_read_back_in_bounded_memory",
            "test_36_a_large_instance_is_sent_in_bounded_memory",
            "benchmarks/receive_speed.py",
        ),
    ),
    "37": (
        "the end under load",
        (
            "test_37_a_question_to_a_silent_node_ends_at_ctrl_c",
            "test_37_a_run_ends_at_ctrl_c_and_goes_on_from_there",
            "test_37_P1_SIGTERM_under_load_ends_soon_and_keeps_all_that_was_acknowledged",
            "test_37_the_end_is_graceful_and_a_restart_finds_everything",
        ),
    ),
}
"""What goes wrong by hostility or bad luck, by the number in names of tests, and who goes through it."""
