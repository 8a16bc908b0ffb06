//! The store through its public boundary: one list of scenarios, run on every database.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod blobs;
mod builds;
mod crash;
mod disk;
mod fixture;
mod follow;
mod jobs;
mod leases;
mod log;
mod pages;
mod postgres;
mod records;
mod sandboxes;
mod sqlite;
mod threads;
mod waiting;

/// Makes a test of every scenario for every database. A function cannot make tests.
macro_rules! scenarios {
    ($($file:ident: $($scenario:ident),+;)+) => {
        scenarios!(@on sqlite_file SqliteFile $($($file::$scenario,)+)+);
        scenarios!(@on sqlite_memory SqliteMemory $($($file::$scenario,)+)+);
        scenarios!(@on on_postgres Postgres $($($file::$scenario,)+)+);
    };
    (@on $name:ident $engine:ident $($file:ident::$scenario:ident,)+) => {
        mod $name {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $scenario() {
                if let Some(world) = crate::fixture::World::new(crate::fixture::Engine::$engine).await {
                    crate::$file::$scenario(world).await;
                }
            })+
        }
    };
}

scenarios! {
    records:
        records_of_every_noun_are_kept_alike,
        an_agent_keeps_all_its_versions,
        agents_are_paged_in_both_directions,
        sessions_of_another_workspace_are_not_found,
        an_environment_in_use_is_not_deleted,
        a_key_is_found_by_its_hash_until_and_after_it_is_revoked,
        a_session_is_read_as_it_was_made,
        a_session_needs_its_environment,
        sessions_are_filtered_and_paged_back,
        a_running_or_held_session_is_not_deleted,
        a_deleted_session_is_gone_with_its_log;
    sandboxes:
        a_sandbox_is_noted_once_and_read_as_it_was_made,
        of_two_nodes_only_one_takes_a_sandbox_over,
        a_node_learns_what_others_wait_for_until_it_has_made_a_checkpoint,
        changed_sandboxes_are_listed_by_node_and_page,
        a_sandbox_expires_on_its_node_first_and_everywhere_later_and_with_its_session,
        sessions_that_are_gone_or_archived_are_not_known,
        blobs_and_layers_that_no_sandbox_names_are_told_apart;
    builds:
        only_one_node_builds_at_a_time,
        an_overtaken_builder_changes_nothing,
        a_failed_build_keeps_its_last_lines_until_it_is_begun_anew,
        builds_that_nobody_wants_are_found_and_forgotten;
    jobs:
        a_job_is_written_in_the_commit_of_its_cause_or_not_at_all,
        too_many_or_too_large_jobs_are_refused,
        one_job_of_a_name_is_open_at_a_time,
        every_job_goes_to_one_of_two_nodes,
        an_overtaken_holder_of_a_job_changes_nothing,
        a_lease_of_a_job_that_ran_out_but_was_not_taken_still_holds,
        a_failed_attempt_is_repeated_after_its_pause,
        a_parked_job_is_shown_and_begins_anew_when_it_is_written_again,
        a_job_of_a_node_is_left_to_it_until_another_one_wants_it,
        a_job_waits_for_its_time,
        a_node_that_stops_gives_its_jobs_back_and_one_that_died_has_used_its_attempts,
        old_parked_jobs_are_forgotten_and_held_ones_never,
        appends_that_want_the_same_jobs_at_once_do_not_harm_each_other,
        other_nodes_hear_of_a_job;
    log:
        appended_entries_are_read_byte_for_byte,
        an_append_changes_the_row_in_the_same_commit,
        numbers_have_no_gap_under_32_writers,
        an_entry_of_a_known_id_is_refused_and_others_are_not_harmed,
        a_client_cannot_append_to_an_ended_session,
        an_append_to_an_unknown_session_is_not_found,
        processing_an_event_sets_its_time_once,
        an_append_of_too_many_entries_is_refused;
    threads:
        the_threads_of_a_session_change_in_the_commit_of_the_append,
        threads_go_with_their_session;
    waiting:
        answers_of_clients_are_checked_in_the_append,
        a_message_is_refused_while_an_idle_session_waits_for_answers,
        an_answer_that_the_holder_has_not_seen_still_counts;
    pages:
        events_are_listed_in_the_order_of_processing,
        events_are_filtered,
        no_event_is_missed_or_repeated_while_events_move;
    leases:
        a_second_worker_cannot_append_after_losing_its_lease,
        only_one_of_many_claims_wins,
        a_client_takes_a_free_lease_with_its_event,
        a_client_learns_who_holds_the_lease,
        a_lease_is_not_released_when_an_event_came_in_between,
        no_wake_up_is_lost_when_release_and_event_race,
        a_client_that_releases_ends_the_lease_of_the_holder,
        renewing_reports_the_leases_that_are_lost,
        work_is_claimable_when_nobody_holds_it,
        a_node_gives_all_its_leases_back;
    follow:
        a_follower_that_subscribes_then_reads_has_no_gap_and_no_duplicate,
        previews_come_in_order_with_entries_and_are_not_stored,
        a_slow_follower_is_told_to_read_again,
        followers_learn_of_deletion_and_closing;
}
