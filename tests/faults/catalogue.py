"""Which test proves which fault of the catalogue: id -> (file, test); those that need no broken stack are elsewhere."""

INGESTION, CHAT, ADMISSION, START = "test_ingestion", "test_chat", "test_admission", "test_start"
KILLED = (INGESTION, "test_a_worker_killed_at_any_point_loses_and_doubles_nothing")
STARTED = (ADMISSION, "test_an_api_killed_around_the_start_is_asked_again_with_the_key")

CATALOGUE: dict[str, list[tuple[str, str]]] = {
    "A01": [KILLED],
    "A02": [KILLED],
    "A03": [KILLED],
    "A04": [KILLED],
    "A05": [KILLED],
    "A06": [(CHAT, "test_a_worker_killed_while_it_answers_leaves_one_answer")],
    "A07": [(CHAT, "test_a_worker_killed_between_the_steps_of_a_turn_pays_once")],
    "A08": [(CHAT, "test_metering_goes_on_when_its_worker_dies")],
    "A09": [STARTED, (ADMISSION, "test_an_api_killed_during_a_wait_loses_nothing")],
    "A10": [(INGESTION, "test_uploads_go_on_while_workers_are_killed")],
    "A11": [(ADMISSION, "test_a_killed_temporal_forgets_no_acknowledged_start")],
    "A12": [(ADMISSION, "test_a_temporal_that_hangs_is_503_within_three_seconds")],
    "A13": [(ADMISSION, "test_without_temporal_the_api_lives_reads_and_lets_in")],
    "A14": [(INGESTION, "test_a_worker_that_is_told_to_stop_finishes_its_step")],
    "A15": [(CHAT, "test_conversations_go_on_while_redis_is_killed")],
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
}

VECTORS, REPLAY, RUNS = "contract/test_vector_store", "api/test_replay", "api/test_admission"
ELSEWHERE: dict[str, list[tuple[str, str]]] = {
    "A25": [
        (VECTORS, "test_an_inactive_tenant_is_unavailable_until_it_is_active_again"),
        (VECTORS, "test_a_class_that_was_lost_is_made_again_by_us_and_never_by_the_server"),
        (VECTORS, "test_a_vector_of_another_length_is_refused_for_good_and_nothing_is_written"),
    ],
    "A38": [
        (RUNS, "test_a_run_that_was_never_started_is_cancelled_for_good"),
        (REPLAY, "test_a_parked_run_is_cancelled_and_leaves_its_original_only"),
    ],
    "A41": [(REPLAY, "test_a_replay_resumes_at_the_step_that_failed_and_buys_nothing_twice")],
}
