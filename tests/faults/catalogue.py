"""Which test proves which fault of the catalogue: id -> (file, test); those that need no broken stack are elsewhere.

A: what breaks on the way of the data; M: what may go wrong in metering; E: what a document may talk a model into.
"""

INGESTION, CHAT, ADMISSION, START = "test_ingestion", "test_chat", "test_admission", "test_start"
LEDGER, BUDGETS, METERING = "test_ledger", "test_budgets", "test_metering"
STREAMS = "test_streams"
KILLED = (INGESTION, "test_a_worker_killed_at_any_point_loses_and_doubles_nothing")
STARTED = (ADMISSION, "test_an_api_killed_around_the_start_is_asked_again_with_the_key")
TWENTY = (METERING, "test_twenty_faults_in_a_row_leave_nothing_held_and_nothing_stuck")

CATALOGUE: dict[str, list[tuple[str, str]]] = {
    "A01": [KILLED],
    "A02": [KILLED],
    "A03": [KILLED],
    "A04": [KILLED],
    "A05": [KILLED],
    "A06": [
        (CHAT, "test_a_worker_killed_while_it_answers_leaves_one_answer"),
        (STREAMS, "test_readers_of_an_answer_whose_worker_is_killed_get_it_once"),
    ],
    "A07": [(CHAT, "test_a_worker_killed_between_the_steps_of_a_turn_pays_once")],
    "A08": [(CHAT, "test_metering_goes_on_when_its_worker_dies")],
    "A09": [STARTED, (ADMISSION, "test_an_api_killed_during_a_wait_loses_nothing")],
    "A10": [(INGESTION, "test_uploads_go_on_while_workers_are_killed")],
    "A11": [(ADMISSION, "test_a_killed_temporal_forgets_no_acknowledged_start")],
    "A12": [(ADMISSION, "test_a_temporal_that_hangs_is_503_within_three_seconds")],
    "A13": [(ADMISSION, "test_without_temporal_the_api_lives_reads_and_lets_in")],
    "A14": [(INGESTION, "test_a_worker_that_is_told_to_stop_finishes_its_step")],
    "A15": [(CHAT, "test_conversations_go_on_while_redis_is_killed")],
    "A17": [(CHAT, "test_a_conversation_goes_on_while_redis_is_silent")],
    "A19": [(STREAMS, "test_streams_cut_across_a_restart_and_a_flush_tell_the_whole_answer")],
    "A21": [
        (INGESTION, "test_a_document_waits_for_weaviate_and_goes_on"),
        (INGESTION, "test_a_document_waits_for_a_weaviate_that_hangs"),
        (CHAT, "test_a_turn_that_finds_no_index_fails_after_a_minute"),
    ],
    "A24": [(INGESTION, "test_a_batch_that_was_applied_and_not_acknowledged_is_stored_once")],
    "A26": [
        (CHAT, "test_a_provider_that_refuses_twice_is_asked_again_and_paid_once"),
        (CHAT, "test_a_provider_that_keeps_refusing_ends_the_turn_with_a_code"),
    ],
    "A27": [TWENTY],
    "A28": [TWENTY],
    "A29": [TWENTY],
    "A30": [TWENTY],
    "A35": [(ADMISSION, "test_fifty_equal_requests_at_once_are_one_run")],
    "A36": [(ADMISSION, "test_a_key_is_for_one_request_of_one_account")],
    "A37": [(ADMISSION, "test_the_same_bytes_without_a_key_are_one_document")],
    "A38": [("test_cancel", "test_an_ingestion_cancelled_in_any_step_leaves_its_original_only")],
    "A45": [(CHAT, "test_cancelling_twice_is_cancelling_once")],
    "A47": [(START, "test_two_replicas_start_at_once_on_empty_stores")],
    "A48": [(START, "test_everything_killed_comes_back_in_any_order")],
    "A50": [(ADMISSION, "test_a_locked_database_is_503_and_steps_try_again")],
    "A51": [
        (INGESTION, "test_a_step_whose_reply_is_lost_is_done_once"),
        (CHAT, "test_an_answer_whose_acknowledgement_is_lost_is_given_and_paid_once"),
    ],
    "A53": [(INGESTION, "test_a_document_waits_for_the_blob_store")],
    "M01": [(LEDGER, "test_every_reply_is_in_the_ledger_once_whatever_went_wrong_after_it")],
    "M02": [(BUDGETS, "test_of_a_crowd_as_many_are_admitted_as_the_budget_has_room_for")],
    "M03": [(METERING, "test_tokens_taken_beyond_the_reservation_are_no_more_than_its_error_and_are_told")],
    "M04": [(METERING, "test_what_was_reserved_is_released_however_a_turn_ends")],
    "M05": [(METERING, "test_at_the_limit_a_turn_is_refused_when_there_is_no_room_and_not_before")],
}

ANSWERER, REPLIES, FALLBACK = (
    "contract/test_openai_answerer",
    "contract/test_provider_replies",
    "contract/test_fallback",
)
SEQUENCES, MONTHS, USAGE = "contract/test_ledger_sequences", "contract/test_ledger", "api/test_usage"
VECTORS, REPLAY, RUNS = "contract/test_vector_store", "api/test_replay", "api/test_admission"
INJECTION, OUTPUT, PROMPTS = "workflows/test_injection", "unit/test_output", "unit/test_prompts"
ELSEWHERE: dict[str, list[tuple[str, str]]] = {
    "A25": [
        (VECTORS, "test_an_inactive_tenant_is_unavailable_until_it_is_active_again"),
        (VECTORS, "test_a_class_that_was_lost_is_made_again_by_us_and_never_by_the_server"),
        (VECTORS, "test_a_vector_of_another_length_is_refused_for_good_and_nothing_is_written"),
    ],
    "A26": [
        (ANSWERER, "test_the_provider_says_how_long_to_wait"),
        (ANSWERER, "test_an_endpoint_that_fails_at_tls_is_unavailable"),
        (FALLBACK, "test_the_next_model_answers_for_one_that_is"),
    ],
    "A27": [
        (ANSWERER, "test_a_fault_gets_its_name_after_one_call_and_nobodys_words"),
        (FALLBACK, "test_what_is_too_long_by_half_as_well_fails_by_name_and_costs_nothing"),
    ],
    "A28": [(ANSWERER, "test_silence_has_a_limit_and_ends_the_call")],
    "A29": [
        (ANSWERER, "test_a_usage_that_cannot_be_true_is_estimated"),
        (REPLIES, "test_a_reply_that_cannot_be_meant_is_no_answer"),
    ],
    "A30": [
        (REPLIES, "test_a_reply_whose_words_are_all_there_is_an_answer_by_estimate"),
        (FALLBACK, "test_once_something_was_told_no_other_model_goes_on_with_it"),
    ],
    "A38": [
        (RUNS, "test_a_run_that_was_never_started_is_cancelled_for_good"),
        (REPLAY, "test_a_parked_run_is_cancelled_and_leaves_its_original_only"),
    ],
    "A41": [(REPLAY, "test_a_replay_resumes_at_the_step_that_failed_and_buys_nothing_twice")],
    "M06": [
        (SEQUENCES, "test_months_are_what_was_bought_whatever_happens_in_whatever_order"),
        (SEQUENCES, "test_a_stream_over_the_end_of_a_leap_day_counts_in_the_month_of_its_reply"),
        (SEQUENCES, "test_a_month_begins_at_midnight_utc_whatever_the_clocks_on_the_wall_say"),
    ],
    "M07": [
        (SEQUENCES, "test_a_limit_that_is_lowered_below_what_runs_leaves_their_bill_whole"),
        (SEQUENCES, "test_a_user_who_is_disabled_while_asking_is_billed_and_holds_nothing"),
    ],
    "M08": [
        (MONTHS, "test_lost_months_are_rebuilt_from_the_calls_and_the_runs"),
        (MONTHS, "test_months_of_every_account_are_rebuilt_each_from_its_own_calls"),
        (MONTHS, "test_months_add_up_however_many_ask_and_settle_while_they_are_rebuilt"),
    ],
    "M09": [(USAGE, "test_month_ledger_and_export_are_the_providers_log")],
    "M10": [(USAGE, "test_a_usage_that_cannot_be_is_an_estimate")],
    "M11": [("workflows/test_metering", "test_replay_without_a_cache_bills_nothing")],
    "M12": [(SEQUENCES, "test_months_are_what_was_bought_whatever_happens_in_whatever_order")],
    "M13": [(USAGE, "test_month_ledger_and_export_are_the_providers_log")],
    "M14": [(USAGE, "test_fifty_questions_of_a_new_user_at_once_are_all_in_the_ledger")],
    "E01": [
        (INJECTION, "test_a_model_that_obeys_a_document_leaks_nothing"),
        (OUTPUT, "test_the_rules_are_not_told"),
        (OUTPUT, "test_rules_are_known_in_other_clothes"),
        (OUTPUT, "test_neither_the_code_nor_a_long_piece_of_the_rules_leaves"),
    ],
    "E02": [
        (INJECTION, "test_a_model_that_obeys_a_document_leaks_nothing"),
        (INJECTION, "test_what_is_told_until_somebody_stops_it_is_filtered_too"),
        (INJECTION, "test_a_quoted_document_is_inert_in_the_answer_and_exact_in_its_source"),
        (OUTPUT, "test_nothing_that_can_be_fetched_leaves"),
        (OUTPUT, "test_nothing_that_can_be_fetched_leaves_whatever_is_put_together"),
        (OUTPUT, "test_it_does_not_matter_in_what_pieces_an_answer_comes"),
    ],
    "E03": [(INJECTION, "test_nothing_happens_that_a_model_asks_for")],
    "E04": [(INJECTION, "test_nothing_happens_that_a_model_asks_for")],
    "E05": [
        (INJECTION, "test_a_model_that_obeys_a_document_leaks_nothing"),
        (PROMPTS, "test_a_document_cannot_close_its_passage_or_open_another"),
        (PROMPTS, "test_no_earlier_message_speaks_with_the_marker"),
        (PROMPTS, "test_nothing_that_is_read_can_change_who_speaks"),
        ("unit/test_citations", "test_what_stands_around_a_dropped_marker_is_none_either"),
    ],
    "E06": [("unit/test_parsing", "test_invisible_characters_are_taken_out_with_a_warning")],
    "E07": [
        (INJECTION, "test_names_that_speak_are_names"),
        (PROMPTS, "test_a_title_stays_on_its_line_and_short"),
        (PROMPTS, "test_what_nobody_sees_is_not_told"),
    ],
    "E08": [
        (ANSWERER, "test_a_model_that_ignores_max_tokens_is_cut_by_us"),
        (ANSWERER, "test_control_characters_without_end_are_too_long_too"),
        (OUTPUT, "test_what_is_taken_out_leaves_its_words"),
        (INJECTION, "test_a_rewritten_question_is_one_short_plain_line"),
    ],
    "E09": [("authz/test_tenants_apart", "test_a_strangers_word_in_an_answer_is_noticed")],
    "E10": [(INJECTION, "test_an_earlier_answer_is_no_evidence")],
    "E11": [
        ("unit/test_passages", "test_at_most_three_chunks_of_a_document_are_chosen"),
        ("contract/test_passages", "test_a_stuffed_document_leaves_room_for_the_others"),
    ],
    "E12": [(INJECTION, "test_no_prompt_holds_a_secret")],
}

REASONS: dict[str, str] = {
    "E13": "optional: a scanner for models says little of a filter that does not depend on the model",
}
